//! Tells of grants that ended before their time, to whoever accepts their credentials.
//!
//! Fails closed on the other side: a word comes each second as long as the broker knows what it
//! says, so that whoever hears none stops accepting.

use std::time::Duration;

use jeton_domain::{id::Row, principal::Role, ttl::Timestamp};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    Broker, Caller, Refusal,
    line::{Line, unknown},
};
use crate::{limits::STREAM_LOOK, store::EndedEarly};

/// Grants in one word.
const WORD: usize = 1000;
/// Longest time without a word.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Whose grants are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    All,
    /// One session's, by its number.
    Session(Row),
}

/// Grants that ended, and how far the stream has come.
pub struct Word {
    /// In the order of the log; may be none.
    pub ended: Vec<EndedEarly>,
    /// All that ended by entries below was told.
    pub next: u64,
    /// When.
    pub now: Timestamp,
    /// Whether there is no more for now.
    pub caught_up: bool,
}

/// Tells whose grants a caller may hear of.
///
/// # Errors
/// When there are none, or the log does not reach so far.
pub fn may_watch(broker: &Broker, caller: &Caller, from: u64) -> Result<Whose, Refusal> {
    let size = broker.store.growth().borrow().size();
    if from > size {
        return Err(Refusal::Invalid {
            field: "from_index",
            message: format!("the log has {size} entries so far; start at most there"),
        });
    }
    if caller.sees_all() || caller.principal.has(Role::Verifier) {
        return Ok(Whose::All);
    }
    match &caller.session {
        Some(own) => Ok(Whose::Session(own.session.id.row())),
        None => Err(Refusal::Forbidden(
            "hearing of revocations needs the role verifier, or the handle of your own session",
        )),
    }
}

/// Sends words until the reader goes away, its right ends, or the broker no longer knows.
pub async fn watch(
    broker: &Broker,
    caller: &Caller,
    whose: Whose,
    from: u64,
    out: mpsc::Sender<Result<Word, Refusal>>,
) {
    if let Err(error) = follow(broker, caller, whose, from, &out).await {
        // Why ignored: a reader that went away wants no error.
        let _ = out.send(Err(error)).await;
    }
}

async fn follow(
    broker: &Broker,
    caller: &Caller,
    whose: Whose,
    from: u64,
    out: &mpsc::Sender<Result<Word, Refusal>>,
) -> Result<(), Refusal> {
    let (growth, mut endings) = (broker.store.growth(), broker.store.endings());
    let line = Line::new(broker, caller, out);
    let (mut next, mut told) = (from, None::<Instant>);
    while line.goes_on().await? {
        endings.borrow_and_update();
        // Why before the look: what ended by an entry below is in memory by then.
        let size = growth.borrow().size();
        let found = broker.store.ended_early(next, WORD);
        let caught_up = found.len() < WORD;
        let last = found.last().map_or(next, |early| early.entry.saturating_add(1));
        next = if caught_up { last.max(size) } else { last };
        let ended: Vec<_> = found.into_iter().filter(|early| whose.means(early)).collect();
        if !ended.is_empty() || !caught_up || told.is_none_or(|at| at.elapsed() >= HEARTBEAT) {
            let now = broker.clock.now();
            if !line.send(Word { ended, next, now, caught_up }).await? {
                return Ok(());
            }
            told = Some(Instant::now());
        }
        if caught_up {
            let wake = Instant::now() + HEARTBEAT.min(STREAM_LOOK);
            tokio::select! {
                () = line.closed() => return Ok(()),
                ended = timeout_at(wake, endings.changed()) => if let Ok(Err(_)) = ended {
                    return Err(unknown());
                },
            }
        }
    }
    Ok(())
}

impl Whose {
    fn means(self, early: &EndedEarly) -> bool {
        match self {
            Self::All => true,
            Self::Session(row) => early.session == row,
        }
    }
}
