//! Exports of one object a line. A line that was cut off is written again.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use jeton_client::EntryInfo;
use serde_json::Value;

use super::{Sink, ocsf, unwritable};
use crate::cli::failure::Failure;

/// How an entry becomes a line.
type Render = fn(&EntryInfo) -> Result<String, Failure>;
/// Where a line tells its entry's index.
type IndexOf = fn(&Value) -> Option<u64>;

/// A file of lines.
pub struct Lines {
    path: PathBuf,
    out: BufWriter<File>,
    render: Render,
    next: u64,
}

impl Lines {
    /// Lines of entries as they are stored.
    pub fn stored(path: &Path) -> Result<Self, Failure> {
        Self::open(path, |entry| Ok(entry.text.clone()), |line| line.get("index")?.as_u64())
    }

    /// Lines of OCSF events.
    pub fn ocsf(path: &Path) -> Result<Self, Failure> {
        Self::open(path, ocsf::event, |line| line.pointer("/metadata/sequence")?.as_u64())
    }

    fn open(path: &Path, render: Render, index_of: IndexOf) -> Result<Self, Failure> {
        let bad = |error: std::io::Error| unwritable(path, &error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(bad)?;
        let (mut whole, mut next) = (0_u64, 0_u64);
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(bad)?;
            if line.pop() != Some(b'\n') {
                break;
            }
            let value: Option<Value> = serde_json::from_slice(&line).ok();
            let index = value.as_ref().and_then(index_of).ok_or_else(|| {
                Failure::Invalid(format!(
                    "`{}` holds a line that is no entry of this format; name another file",
                    path.display()
                ))
            })?;
            next = index.saturating_add(1);
            whole = whole.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
        file.set_len(whole).and_then(|()| file.seek(SeekFrom::End(0))).map_err(bad)?;
        Ok(Self { path: path.to_owned(), out: BufWriter::new(file), render, next })
    }
}

impl Sink for Lines {
    fn next(&self) -> u64 {
        self.next
    }

    fn write(&mut self, entry: &EntryInfo) -> Result<(), Failure> {
        let line = (self.render)(entry)?;
        writeln!(self.out, "{line}").map_err(|error| unwritable(&self.path, &error))
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.out
            .flush()
            .and_then(|()| self.out.get_ref().sync_all())
            .map_err(|error| unwritable(&self.path, &error))
    }
}
