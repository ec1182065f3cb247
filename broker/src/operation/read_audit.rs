//! Reads the log, as far as [`View`] says.

use std::sync::Arc;

use jeton_domain::{
    audit::{Entry, EntryFilter, Event},
    session::Words,
    ttl::Timestamp,
};

use super::{Broker, Caller, Refusal, read_tiles::Way, receipt::read, view::View};
use crate::{
    limits::ENTRIES_BYTES,
    store::{
        StoreError,
        index::{Candidates, LogIndex, Query, Span},
    },
};

/// Entries that one page looks at. Why: a rare filter must not read a log of millions in one call; a
/// short page with a token goes on where it stopped.
const LOOKED_AT: usize = 20_000;
/// Searches of one page.
const SEARCHES: usize = 64;
/// Candidates read in one go.
const CHUNK: usize = 500;
/// Entries read in one go to find a moment.
const NEAR: u32 = 256;

/// An entry as stored and as read.
pub struct Found {
    /// What is hashed.
    pub text: String,
    /// What it says.
    pub entry: Entry,
}

/// Where a page begins, and which way it goes.
#[derive(Debug, Clone, Copy)]
pub struct From {
    /// The next entry to look at, or one behind the last; `None` at the log's end or beginning.
    pub place: Option<u64>,
    /// Towards younger entries.
    pub oldest_first: bool,
    /// How many.
    pub size: u32,
}

/// Some entries and where the next ones begin.
pub struct Entries {
    /// In the order asked for.
    pub entries: Vec<Found>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<u64>,
}

/// Writes into the log that somebody looked into it.
///
/// # Errors
/// When it can't be recorded: who looks is part of what the log tells. A full disk alone keeps
/// nobody from looking, because that is when they must.
pub async fn record_reading(
    broker: &Broker,
    caller: &Caller,
    view: &View,
    how: &str,
) -> Result<(), Refusal> {
    if !view.is_recorded() {
        return Ok(());
    }
    let event =
        Event::LogRead { by: caller.principal.id.clone(), query: Words::new(how.trim_end()) };
    match broker.store.append(event, broker.clock.now()).await {
        Err(StoreError::Full) => {
            tracing::warn!(by = %caller.principal.id, how, "the log was read and the disk is too full to record it");
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Writes into the log that somebody lists entries: for the first page, and for others now and then,
/// since a list may be gone on with much later.
///
/// # Errors
/// As [`record_reading`].
pub async fn record_listing(
    broker: &Broker,
    caller: &Caller,
    (view, filter): (&View, &EntryFilter),
    first_page: bool,
) -> Result<(), Refusal> {
    let due = broker.readers.is_due(&caller.principal.id, Way::Pages);
    match (first_page, due) {
        (true, _) => {
            record_reading(broker, caller, view, &format!("list {}", filter.words())).await
        }
        (false, true) => {
            let how = format!("list, going on: {}", filter.words());
            record_reading(broker, caller, view, &how).await
        }
        (false, false) => Ok(()),
    }
}

/// A page of entries.
///
/// # Errors
/// When the store can't be read.
pub async fn list(broker: &Broker, filter: &EntryFilter, from: From) -> Result<Entries, Refusal> {
    let size = broker.store.growth().borrow().size();
    let (low, high) = bounds(broker, filter, size).await?;
    let place = from.place.unwrap_or(if from.oldest_first { low } else { high });
    let span = if from.oldest_first {
        Span { low: place.max(low), high, oldest_first: true }
    } else {
        Span { low, high: place.min(high), oldest_first: false }
    };
    search(broker, filter, span, usize::try_from(from.size).unwrap_or(usize::MAX)).await
}

/// The entries of a part of the log that fit, at most so many.
pub(super) async fn search(
    broker: &Broker,
    filter: &EntryFilter,
    span: Span,
    wanted: usize,
) -> Result<Entries, Refusal> {
    let mut rest = (span.low < span.high).then_some(span);
    let (mut found, mut looked_at, mut bytes) = (Vec::new(), 0_usize, 0);
    for _ in 0..SEARCHES {
        let Some(span) = rest else { break };
        let candidates = candidates(broker, filter, span, wanted.clamp(1, CHUNK)).await?;
        rest = candidates.rest;
        let last = candidates.places.last().copied();
        for text in broker.store.entries_at(candidates.places).await? {
            let entry = read(&text)?;
            looked_at = looked_at.saturating_add(1);
            if !filter.matches(&entry) {
                continue;
            }
            let place = entry.index;
            bytes = record_bytes(bytes, &text);
            found.push(Found { text, entry });
            if found.len() >= wanted || bytes > ENTRIES_BYTES {
                let left = if Some(place) == last { rest } else { span.behind(place) };
                return Ok(Entries { entries: found, next: left.map(Span::begin) });
            }
        }
        if looked_at >= LOOKED_AT {
            break;
        }
    }
    Ok(Entries { entries: found, next: rest.map(Span::begin) })
}

/// Entries that may fit.
async fn candidates(
    broker: &Broker,
    filter: &EntryFilter,
    span: Span,
    most: usize,
) -> Result<Candidates, Refusal> {
    let query = Query::of(filter);
    if query.is_empty() {
        return Ok(Candidates::all(span, most));
    }
    searching(broker, move |index| index.candidates(&query, span, most)).await
}

/// The part of a log that a filter's times leave: the first index, and the one behind the last.
pub(super) async fn bounds(
    broker: &Broker,
    filter: &EntryFilter,
    size: u64,
) -> Result<(u64, u64), Refusal> {
    let low = match filter.from {
        Some(from) => first_not_before(broker, from, size).await?,
        None => 0,
    };
    let high = match filter.until {
        Some(until) => first_not_before(broker, until, size).await?,
        None => size,
    };
    Ok((low, high.max(low)))
}

/// The first entry at or after a moment, below a size: times never go back in the log.
pub(super) async fn first_not_before(
    broker: &Broker,
    at: Timestamp,
    size: u64,
) -> Result<u64, Refusal> {
    let mut place = searching(broker, move |index| index.near(at)).await?;
    while place < size {
        let texts = broker.store.entries(place, NEAR).await?;
        if texts.is_empty() {
            break;
        }
        for text in texts {
            if read(&text)?.at >= at {
                return Ok(place.min(size));
            }
            place = place.saturating_add(1);
        }
    }
    Ok(size)
}

/// Runs a search off the async threads.
pub(super) async fn searching<T: Send + 'static>(
    broker: &Broker,
    search: impl FnOnce(&LogIndex) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Refusal> {
    // Why it goes along: a caller that gives up does not end what runs, and it counts until then.
    let place = Arc::clone(&broker.searches).acquire_owned().await;
    let place = place.map_err(|error| Refusal::Internal(error.to_string()))?;
    let index = Arc::clone(&broker.index);
    let found = tokio::task::spawn_blocking(move || {
        let found = search(&index);
        drop(place);
        found
    });
    let found = found.await;
    Ok(found.map_err(|error| Refusal::Internal(error.to_string()))??)
}

/// Bytes of an answer with one entry more: its text and the line for people, which is shorter.
pub(super) fn record_bytes(bytes: usize, text: &str) -> usize {
    bytes.saturating_add(text.len().saturating_mul(2)).saturating_add(64)
}
