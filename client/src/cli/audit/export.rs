//! `jeton audit export`: the log for other programs, in pieces that a break can't spoil.

mod flat;
mod lines;
mod ocsf;
mod parquet;
mod table;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use jeton_client::{Client, EntryFilter, EntryInfo, Purpose, Until, log::FolderWriter};
use serde_json::json;

use self::{lines::Lines, parquet::Parts, table::Table};
use super::{filter::Filter, note_part};
use crate::cli::{
    Global,
    failure::Failure,
    output::{self, clean},
};

/// Tries to take a broken stream up again before giving up.
const TRIES: u32 = 5;

/// What to export, and to where.
#[derive(Args)]
pub struct Export {
    #[command(flatten)]
    filter: Filter,
    /// How it is written.
    #[arg(long, value_enum)]
    format: Format,
    /// The file; a folder for parquet and tiles.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Go on with what an earlier export to the same place began.
    #[arg(long)]
    resume: bool,
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line, as stored.
    Jsonl,
    /// A table with a header; no cell is a formula.
    Csv,
    /// One event of the Open Cybersecurity Schema Framework a line.
    Ocsf,
    /// A folder of Parquet files.
    Parquet,
    /// A folder of C2SP tiles with its checkpoint: `jeton audit verify --tiles` reads it.
    Tiles,
}

/// Where entries go.
trait Sink {
    /// Index of the first entry that it lacks.
    fn next(&self) -> u64;
    /// Takes an entry.
    fn write(&mut self, entry: &EntryInfo) -> Result<(), Failure>;
    /// Makes what it took durable. Every entry below `next` was looked at.
    fn finish(self: Box<Self>) -> Result<(), Failure>;
}

/// Exports.
///
/// # Errors
/// When the broker refuses or can't be reached, or the place can't be written.
pub async fn export(global: &Global, asked: Export) -> Result<(), Failure> {
    let filter = EntryFilter::from(asked.filter);
    if asked.out.exists() && !asked.resume {
        return Err(Failure::Invalid(format!(
            "`{}` is there already; go on with it by --resume, or name another place",
            asked.out.display()
        )));
    }
    let client = global.connect().await?;
    let count = match asked.format {
        Format::Tiles => tiles(&client, &filter, &asked.out).await?,
        Format::Jsonl => copy(&client, &filter, Box::new(Lines::stored(&asked.out)?)).await?,
        Format::Ocsf => copy(&client, &filter, Box::new(Lines::ocsf(&asked.out)?)).await?,
        Format::Csv => copy(&client, &filter, Box::new(Table::open(&asked.out)?)).await?,
        Format::Parquet => copy(&client, &filter, Box::new(Parts::open(&asked.out)?)).await?,
    };
    let path = asked.out.display().to_string();
    global.output().result(&json!({ "entries": count, "out": path }), || {
        format!("{count} entries written to {}\n", clean(&path))
    })
}

async fn copy(
    client: &Client,
    filter: &EntryFilter,
    mut sink: Box<dyn Sink>,
) -> Result<u64, Failure> {
    let first = sink.next();
    let count = stream(client, filter, first, None, |entry| sink.write(entry)).await;
    // Why also after a failure: what came is kept, and an export that goes on starts behind it.
    let finished = sink.finish();
    let count = count?;
    finished.map(|()| count)
}

/// A folder of tiles is a whole log: all entries, up to a checkpoint.
async fn tiles(client: &Client, filter: &EntryFilter, out: &Path) -> Result<u64, Failure> {
    if *filter != EntryFilter::default() {
        return Err(Failure::Invalid(
            "tiles hold the whole log; leave the options that choose entries out".to_owned(),
        ));
    }
    let signed = client.checkpoint().await?.checkpoint;
    let size = signed.checkpoint().size;
    let mut writer = FolderWriter::open(out)?;
    if writer.next() > size {
        return Err(Failure::Tampered(format!(
            "the folder has {} entries, the broker's log only {size}",
            writer.next()
        )));
    }
    let first = writer.next();
    let count =
        stream(client, filter, first, Some(size), |entry| Ok(writer.push(entry.text.as_bytes())?))
            .await?;
    if writer.root() != signed.checkpoint().root {
        return Err(Failure::Tampered(
            "the entries do not have the root that the broker signed; nothing was vouched for"
                .to_owned(),
        ));
    }
    writer.finish(&signed.to_string())?;
    Ok(count)
}

/// Hands entries on, from an index to the end. A stream that breaks is taken up again.
async fn stream(
    client: &Client,
    filter: &EntryFilter,
    mut from: u64,
    end: Option<u64>,
    mut each: impl FnMut(&EntryInfo) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let (mut count, mut broken, mut told) = (0_u64, 0, None);
    let until = Until::End(Purpose::Export);
    loop {
        let opened = client.tail_entries(filter.clone(), from, until).await;
        let outcome = match opened {
            Err(error) => Err(error),
            Ok(mut stream) => loop {
                match stream.next().await {
                    // A stream that ends before the log does is taken up again.
                    Ok(None) => break Ok(false),
                    Err(error) => break Err(error),
                    Ok(Some(batch)) => {
                        if told != batch.part {
                            note_part(batch.part.as_deref());
                            told = batch.part;
                        }
                        if batch.at_end {
                            break Ok(true);
                        }
                        for entry in &batch.entries {
                            if end.is_some_and(|end| entry.index >= end) {
                                return Ok(count);
                            }
                            each(entry)?;
                            count = count.saturating_add(1);
                        }
                        (from, broken) = (batch.next, 0);
                    }
                }
            },
        };
        match outcome {
            Ok(true) => return Ok(count),
            Ok(false) if broken < TRIES => broken += 1,
            Ok(false) => {
                return Err(Failure::Broken(format!(
                    "the broker ends the stream at {from} again and again, before the log does"
                )));
            }
            Err(error) if error.is_passing() && broken < TRIES => {
                broken += 1;
                output::note(&format!(
                    "jeton: {}; going on at {from}\n",
                    clean(&error.to_string())
                ));
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A place that can't be written or read.
fn unwritable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::config(format!("`{}`: {error}", path.display()))
}
