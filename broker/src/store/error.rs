//! Why the store did not do a step.

use jeton_domain::{budget::OverBudget, grant::Phase};

/// Why the store did not do a step. Nothing of it is recorded then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No such session.
    #[error("no such session")]
    NoSession,
    /// No such grant.
    #[error("no such grant")]
    NoGrant,
    /// The session was closed in the meantime.
    #[error("the session is over")]
    SessionOver,
    /// All its grants are used up.
    #[error("the session used all {0} grants of its envelope")]
    GrantsUsedUp(u32),
    /// Somebody stopped it after it was decided.
    #[error("{0}")]
    Stopped(String),
    /// A budget is spent.
    #[error(transparent)]
    OverBudget(OverBudget),
    /// It asks people as much as may be at once.
    #[error("{0} requests of the session wait for people, as many as may")]
    TooManyPending(usize),
    /// The agent, or the creator of its sessions, asks people as much as may be at once.
    #[error(
        "as many requests of this agent, or of all whose sessions have the same creator, wait for people as may"
    )]
    PendingShareUsed,
    /// An approval was used up, withdrawn or ended after it was counted.
    #[error("an approval that this rests on is used up, withdrawn or over")]
    ApprovalGone,
    /// An emergency of the same kind is not reviewed yet.
    #[error("the emergency at entry {0} is not reviewed yet")]
    Unreviewed(u64),
    /// Somebody approves a second time, otherwise than before.
    #[error("you approved this before, in other words or for more or less")]
    AlreadyApproved,
    /// It opened as many sessions as may be open at once.
    #[error("{0} sessions are open below the session or one above it, as many as may be")]
    TooManyChildren(usize),
    /// The creator of its tree has as many sessions open as one may.
    #[error("{0} sessions of one creator are open, as many as may be")]
    TooManySessions(u64),
    /// The open sessions of the creator of its tree take as many bytes as they may.
    #[error("the open sessions of one creator take {0} bytes, as many as they may")]
    SessionBytes(u64),
    /// The grant is in another state by now.
    #[error("the grant is {}", .0.word())]
    Conflict(Phase),
    /// The log has no such entry.
    #[error("the log has {size} entries; there is none at {asked}")]
    NoEntry {
        /// What was asked for.
        asked: u64,
        /// Entries of the log.
        size: u64,
    },
    /// More writes wait than the disk can take.
    #[error("the store has more to write than the disk can take")]
    Busy,
    /// The disk is full: nothing new is granted, revoking goes on.
    #[error("the store's disk is full; nothing is granted until there is room")]
    Full,
    /// The store is broken. The text is for the operator, never for the caller.
    #[error("the store failed: {0}")]
    Broken(String),
}
