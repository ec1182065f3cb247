//! Follows the log: every entry from an index on, as they are written, none skipped.

use std::time::Duration;

use jeton_domain::audit::EntryFilter;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    Broker, Caller, Refusal,
    read_audit::{Found, record_bytes},
    receipt::read,
    watch::may_go_on,
};
use crate::limits::{ENTRIES_BYTES, STREAM_LOOK, TAIL_LIFE};

/// Entries read in one go.
const CHUNK: u32 = 500;
/// Longest time without a word of how far the stream has come.
const PROGRESS: Duration = Duration::from_secs(5);

/// What is to be followed.
pub struct Wanted {
    /// Which entries; limited to what the caller may see.
    pub filter: EntryFilter,
    /// Index of the first that is looked at.
    pub from: u64,
    /// End at the log's present end.
    pub stop_at_end: bool,
}

/// Some entries, and where to go on after them.
pub struct Batch {
    /// Oldest first; may be none.
    pub entries: Vec<Found>,
    /// Every entry below was looked at.
    pub next: u64,
}

/// Checks where a stream is to begin.
///
/// # Errors
/// When the log does not reach so far.
pub fn check_start(broker: &Broker, from: u64) -> Result<(), Refusal> {
    let size = broker.store.growth().borrow().size();
    if from <= size {
        return Ok(());
    }
    Err(Refusal::Invalid {
        field: "from_index",
        message: format!("the log has {size} entries so far; start at most there"),
    })
}

/// Sends entries until the reader goes away, its time is over, or the end is reached and asked for.
///
/// Back-pressure: nothing is read from the store while the reader has not taken what was sent.
pub async fn tail(
    broker: &Broker,
    caller: &Caller,
    wanted: Wanted,
    out: mpsc::Sender<Result<Batch, Refusal>>,
) {
    if let Err(error) = follow(broker, caller, &wanted, &out).await {
        // Why ignored: a reader that went away wants no error.
        let _ = out.send(Err(error)).await;
    }
}

async fn follow(
    broker: &Broker,
    caller: &Caller,
    wanted: &Wanted,
    out: &mpsc::Sender<Result<Batch, Refusal>>,
) -> Result<(), Refusal> {
    let mut growth = broker.store.growth();
    let over = Instant::now() + TAIL_LIFE;
    let mut told = Instant::now();
    let mut batch = Batch { entries: Vec::new(), next: wanted.from };
    loop {
        let size = growth.borrow_and_update().size();
        while batch.next < size {
            let mut bytes = 0;
            for text in broker.store.entries(batch.next, CHUNK).await? {
                let entry = read(&text)?;
                batch.next = entry.index.saturating_add(1);
                if wanted.filter.matches(&entry) {
                    bytes = record_bytes(bytes, &text);
                    batch.entries.push(Found { text, entry });
                }
                if bytes > ENTRIES_BYTES {
                    break;
                }
            }
            if !batch.entries.is_empty() || told.elapsed() > PROGRESS {
                told = Instant::now();
                let next = Batch { entries: Vec::new(), next: batch.next };
                if out.send(Ok(std::mem::replace(&mut batch, next))).await.is_err() {
                    return Ok(());
                }
            }
        }
        let finished =
            wanted.stop_at_end || Instant::now() >= over || !may_go_on(broker, caller).await?;
        if finished || told.elapsed() > PROGRESS {
            told = Instant::now();
            let word = Batch { entries: Vec::new(), next: batch.next };
            if out.send(Ok(word)).await.is_err() || finished {
                return Ok(());
            }
        }
        let wake = over.min(told + PROGRESS).min(Instant::now() + STREAM_LOOK);
        tokio::select! {
            () = out.closed() => return Ok(()),
            grown = timeout_at(wake, growth.changed()) => if let Ok(Err(_)) = grown {
                return Ok(());
            },
        }
    }
}
