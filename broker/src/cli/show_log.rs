//! `jetond log`: the log, a line an entry.

use std::{
    io::{self, Write},
    path::Path,
};

use jeton_domain::audit::Entry;

use crate::{app::AppError, store::sqlite::read_log};

/// Prints all entries and what they amount to.
pub(super) fn show_log(store: &Path, json: bool) -> Result<(), AppError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut printed = Ok(());
    let summary = read_log(store, |entry| {
        if printed.is_ok() {
            printed = print(&mut out, entry, json);
        }
    })
    .map_err(|error| AppError::Broken(error.to_string()))?;
    let done = printed.and_then(|()| out.flush());
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(AppError::Broken(error.to_string()));
        }
        Ok(()) | Err(_) => {}
    }
    super::say(&format!("{} entries; each fits the tree; root {}", summary.entries, summary.root));
    Ok(())
}

fn print(out: &mut impl Write, entry: &Entry, json: bool) -> io::Result<()> {
    if json {
        return writeln!(out, "{}", entry.text().map_err(io::Error::other)?);
    }
    let at = jiff::Timestamp::from_millisecond(entry.at.millis())
        .map_or_else(|_| entry.at.millis().to_string(), |at| format!("{at:.3}"));
    let event = &entry.event;
    writeln!(out, "{:>5}  {at}  {:<17}  {}", entry.index, event.word(), event.line())
}
