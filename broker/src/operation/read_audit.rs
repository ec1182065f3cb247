//! Reads the log: auditors all of it, the holder of a session its own entries.

use jeton_domain::{
    audit::{Entry, EntryFilter, Event},
    session::Words,
};

use super::{Broker, Caller, Refusal, receipt::read};
use crate::{limits::ENTRIES_BYTES, store::StoreError};

/// Entries that one page looks at. Why: a rare filter must not read a log of millions in one call; a
/// short page with a token goes on where it stopped.
const LOOKED_AT: u64 = 20_000;
/// Entries read in one go.
const CHUNK: u32 = 500;

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

/// Limits a filter to what the caller may see.
///
/// # Errors
/// When it may see nothing of the log.
pub fn narrowed(caller: &Caller, filter: EntryFilter) -> Result<EntryFilter, Refusal> {
    if caller.sees_all() {
        return Ok(filter);
    }
    let own = caller.session.as_ref().map(|record| record.session.id).ok_or(Refusal::Forbidden(
        "reading the log needs the role auditor, or the handle of the session whose entries you want",
    ))?;
    if filter.session.is_some_and(|session| session != own) {
        return Err(Refusal::NotFound("session"));
    }
    Ok(EntryFilter { session: Some(own), ..filter })
}

/// Tells whether the caller may see an entry.
pub(super) fn visible(caller: &Caller, entry: &Entry) -> bool {
    let own = caller.session.as_ref().map(|record| record.session.id);
    caller.sees_all() || (own.is_some() && entry.event.facts().session == own)
}

/// Writes into the log that somebody looked into it.
///
/// # Errors
/// When it can't be recorded: who looks is part of what the log tells. A full disk alone keeps
/// nobody from looking, because that is when they must.
pub async fn record_reading(broker: &Broker, caller: &Caller, how: &str) -> Result<(), Refusal> {
    if !caller.sees_all() {
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

/// A page of entries.
///
/// # Errors
/// When the store can't be read.
pub async fn list(broker: &Broker, filter: &EntryFilter, from: From) -> Result<Entries, Refusal> {
    let size = broker.store.growth().borrow().size();
    let mut place = from.place.unwrap_or(if from.oldest_first { 0 } else { size }).min(size);
    let mut found = Vec::new();
    let (mut looked_at, mut bytes) = (0_u64, 0);
    loop {
        let (first, count) = if from.oldest_first {
            (place, size.saturating_sub(place).min(CHUNK.into()))
        } else {
            let count = place.min(CHUNK.into());
            (place.saturating_sub(count), count)
        };
        if count == 0 {
            return Ok(Entries { entries: found, next: None });
        }
        let mut texts = broker.store.entries(first, u32::try_from(count).unwrap_or(CHUNK)).await?;
        if !from.oldest_first {
            texts.reverse();
        }
        for text in texts {
            let entry = read(&text)?;
            place = if from.oldest_first { entry.index.saturating_add(1) } else { entry.index };
            looked_at = looked_at.saturating_add(1);
            if filter.matches(&entry) {
                bytes = record_bytes(bytes, &text);
                found.push(Found { text, entry });
            }
            let full = u32::try_from(found.len()).is_ok_and(|count| count >= from.size)
                || bytes > ENTRIES_BYTES;
            if full || looked_at >= LOOKED_AT {
                let end = if from.oldest_first { place >= size } else { place == 0 };
                return Ok(Entries { entries: found, next: (!end).then_some(place) });
            }
        }
    }
}

/// Bytes of an answer with one entry more: its text and the line for people, which is shorter.
pub(super) fn record_bytes(bytes: usize, text: &str) -> usize {
    bytes.saturating_add(text.len().saturating_mul(2)).saturating_add(64)
}
