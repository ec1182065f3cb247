//! Follows the log: every entry from an index on, as they are written, none skipped.

use std::time::Duration;

use jeton_domain::audit::EntryFilter;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    Broker, Caller, Refusal,
    line::{Line, unknown},
    read_audit::{self, Found},
    read_tiles::may_see_all,
    view::View,
};
use crate::{limits::STREAM_LOOK, store::index::Span};

/// Entries of one batch.
const BATCH: usize = 500;
/// Longest time without a word of how far the stream has come.
const PROGRESS: Duration = Duration::from_secs(5);

/// What entries are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To look at.
    Look,
    /// To hand them to another program.
    Export,
    /// To hold them against a checkpoint.
    Verify,
}

/// What is to be followed.
pub struct Wanted {
    /// Which entries; limited to what the caller may see.
    pub filter: EntryFilter,
    /// The part of the log that is.
    pub view: View,
    /// Index of the first that is looked at.
    pub from: u64,
    /// End at the log's present end.
    pub stop_at_end: bool,
    /// What for.
    pub purpose: Purpose,
}

/// Some entries, and where to go on after them.
pub struct Batch {
    /// Oldest first; may be none.
    pub entries: Vec<Found>,
    /// Every entry below was looked at.
    pub next: u64,
    /// Whether that is the end that was asked for.
    pub at_end: bool,
}

impl Purpose {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Look => "tail",
            Self::Export => "export",
            Self::Verify => "verify",
        }
    }
}

/// Checks that a stream can be what is asked for.
///
/// # Errors
/// When the log does not reach so far, or a part of it is to be verified as if it were the whole.
pub fn check(broker: &Broker, caller: &Caller, wanted: &Wanted) -> Result<(), Refusal> {
    if wanted.purpose == Purpose::Verify {
        may_see_all(caller)?;
    }
    let size = broker.store.growth().borrow().size();
    if wanted.from <= size {
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
    let line = Line::new(broker, caller, out).showing(wanted.view.clone());
    let mut told = Instant::now();
    let size = growth.borrow().size();
    let (first, _) = read_audit::bounds(broker, &wanted.filter, size).await?;
    let mut next = first.max(wanted.from);
    loop {
        let size = growth.borrow_and_update().size();
        while next < size {
            let span = Span { low: next, high: size, oldest_first: true };
            let found = read_audit::search(broker, &wanted.filter, span, BATCH).await?;
            next = found.next.unwrap_or(size);
            if !found.entries.is_empty() || told.elapsed() > PROGRESS {
                told = Instant::now();
                let batch = Batch { entries: found.entries, next, at_end: false };
                if !line.send(batch).await? {
                    return Ok(());
                }
            }
            if !line.goes_on().await? {
                return Ok(());
            }
        }
        if wanted.stop_at_end || told.elapsed() > PROGRESS {
            told = Instant::now();
            let word = Batch { entries: Vec::new(), next, at_end: wanted.stop_at_end };
            if !line.send(word).await? || wanted.stop_at_end {
                return Ok(());
            }
        }
        if !line.goes_on().await? {
            return Ok(());
        }
        let wake = line.over().min(told + PROGRESS).min(Instant::now() + STREAM_LOOK);
        tokio::select! {
            () = line.closed() => return Ok(()),
            grown = timeout_at(wake, growth.changed()) => if let Ok(Err(_)) = grown {
                return Err(unknown());
            },
        }
    }
}
