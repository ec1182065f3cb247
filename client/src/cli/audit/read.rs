//! `jeton audit list` and `jeton audit tail`.

use std::time::Duration;

use clap::Args;
use jeton_client::{Client, EntryFilter, PageOf, Purpose, Until};
use serde_json::{Value, json};

use super::{
    filter::Filter,
    note_part,
    row::{self, Paint},
};
use crate::cli::{
    Global,
    failure::Failure,
    output::{self, Output, clean},
    shell,
};

/// Pause before a broken stream is taken up again.
const AGAIN: Duration = Duration::from_secs(1);
/// Most entries of one page.
const PAGE: u32 = 500;

/// Which entries to list.
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// Oldest first.
    #[arg(long)]
    oldest_first: bool,
    /// Rows.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Where the list before ended.
    #[arg(long, value_name = "TOKEN")]
    after: Option<String>,
}

/// What to follow.
#[derive(Args)]
pub struct Tail {
    #[command(flatten)]
    filter: Filter,
    /// Begin at this index instead of a few entries before the end.
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// Entries before the end to begin with.
    #[arg(long, default_value_t = 10, value_name = "N", conflicts_with = "from")]
    last: u64,
    /// End at the log's present end.
    #[arg(long)]
    no_follow: bool,
}

/// What is left after a stream.
enum Left {
    /// It ended where it should, or nobody reads any more.
    Done,
    /// The broker ended it, as it does now and then.
    More,
}

/// Lists a page.
///
/// # Errors
/// When the broker refuses or can't be reached.
pub async fn list(global: &Global, list: List) -> Result<(), Failure> {
    let client = global.connect().await?;
    let List { filter, oldest_first, limit, after } = list;
    let filter = EntryFilter::from(filter);
    let (mut entries, mut next, mut part) = (Vec::new(), after, None);
    // Why in turns: a filter that fits little gives short pages, each with a place to go on.
    loop {
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(entries.len());
        let size = u32::try_from(wanted).unwrap_or(PAGE).min(PAGE);
        let page = PageOf { size, token: next };
        let found = client.list_entries(filter.clone(), oldest_first, page).await?;
        entries.extend(found.items);
        (next, part) = (found.next, found.part.or(part));
        let enough = u32::try_from(entries.len()).is_ok_and(|count| count >= limit);
        if enough || next.is_none() {
            break;
        }
    }
    let items: Vec<Value> = entries.iter().map(row::object).collect();
    note_part(part.as_deref());
    global.output().result(&json!({ "items": items, "next": next, "part": part }), || {
        let paint = Paint::for_stdout();
        let lines: String = entries.iter().map(|entry| row::line(entry, paint)).collect();
        let more = next.as_deref().map(|token| shell::quote(&clean(token)));
        let more = more.map(|token| format!("more: --after {token}\n")).unwrap_or_default();
        if lines.is_empty() { "no entry fits\n".to_owned() } else { lines + &more }
    })
}

/// Follows.
///
/// # Errors
/// When the broker refuses. A stream that breaks is taken up again where it stood.
pub async fn tail(global: &Global, tail: Tail) -> Result<(), Failure> {
    let client = global.connect().await?;
    let mut from = match tail.from {
        Some(from) => from,
        None => client.checkpoint().await?.checkpoint.checkpoint().size.saturating_sub(tail.last),
    };
    let filter = EntryFilter::from(tail.filter);
    let mut told = None;
    let until = if tail.no_follow { Until::End(Purpose::Look) } else { Until::Stopped };
    loop {
        match follow(&client, &filter, (&mut from, &mut told), until, global.output()).await {
            Ok(Left::Done) => return Ok(()),
            Ok(Left::More) => {}
            Err(Failure::Told(error)) if error.is_passing() => {
                output::note(&format!(
                    "jeton: {}; going on at {from}\n",
                    clean(&error.to_string())
                ));
                tokio::time::sleep(AGAIN).await;
            }
            Err(other) => return Err(other),
        }
    }
}

async fn follow(
    client: &Client,
    filter: &EntryFilter,
    (from, told_part): (&mut u64, &mut Option<String>),
    until: Until,
    output: Output,
) -> Result<Left, Failure> {
    let paint = Paint::for_stdout();
    let mut stream = client.tail_entries(filter.clone(), *from, until).await?;
    while let Some(batch) = stream.next().await? {
        if *told_part != batch.part {
            note_part(batch.part.as_deref());
            told_part.clone_from(&batch.part);
        }
        let told: String = batch
            .entries
            .iter()
            .map(|entry| match output {
                Output::Tables => row::line(entry, paint),
                Output::Json => output::line(&row::object(entry)),
            })
            .collect();
        let heard = output::piece(told.as_bytes())?;
        *from = batch.next;
        if batch.at_end || !heard {
            return Ok(Left::Done);
        }
    }
    Ok(Left::More)
}
