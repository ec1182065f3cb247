//! The budget of log entries for denials: what a caller may cause as often as it likes.
//!
//! The first denials of each accountable subject in a minute are written whole. Those after them
//! are counted, and one entry per subject and minute, [`Event::DenialsSummarized`], names the
//! counts. Only denials, failed authentication and rejected session tokens are ever counted; every
//! other event is written whole, always. Knows no clock: time is an argument.

mod pool;
mod summary;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::pool::Pool;
use super::Event;
use crate::{
    accountable::AccountableSubject,
    limits::{
        DENIAL_BYTES_AUTHENTICATED, DENIAL_BYTES_UNAUTHENTICATED, DENIAL_ENTRIES_AUTHENTICATED,
        DENIAL_ENTRIES_UNAUTHENTICATED,
    },
    session::Words,
    ttl::Timestamp,
};

pub use self::summary::Summary;

/// An event that may be counted instead of written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenialKind {
    /// [`Event::Denied`].
    Denied,
    /// [`Event::SessionRefused`].
    SessionRefused,
    /// [`Event::SignInFailed`]: failed authentication, or a rejected session token.
    SignInFailed,
}

impl DenialKind {
    /// The kind of an event; `None` for every event that must be written whole.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        if let Event::Denied { .. } = event {
            return Some(Self::Denied);
        }
        if let Event::SessionRefused { .. } = event {
            return Some(Self::SessionRefused);
        }
        if let Event::SignInFailed { .. } = event {
            return Some(Self::SignInFailed);
        }
        None
    }

    /// The word of the events that it counts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::SessionRefused => "session_refused",
            Self::SignInFailed => "sign_in_failed",
        }
    }
}

/// How often one reason occurred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenialCount {
    /// The event that was not written.
    pub event: DenialKind,
    /// The layer and the policies that denied, or the code of the failure.
    pub reason: Words,
    /// How often.
    pub count: u64,
}

/// How a denial is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// By an entry of its own.
    Whole,
    /// In the next summary of its subject.
    Counted,
}

/// Limits of all subjects of one kind together, per minute.
#[derive(Debug, Clone, Copy)]
struct PoolLimits {
    entries: u32,
    bytes: u64,
}

/// The budget of all subjects.
pub struct DenialBudget {
    authenticated: Pool,
    /// Why apart: callers that prove nothing must not use up what is written of those that do.
    unauthenticated: Pool,
}

impl Default for DenialBudget {
    fn default() -> Self {
        let pool = |entries, bytes| Pool::new(PoolLimits { entries, bytes });
        Self {
            authenticated: pool(DENIAL_ENTRIES_AUTHENTICATED, DENIAL_BYTES_AUTHENTICATED),
            unauthenticated: pool(DENIAL_ENTRIES_UNAUTHENTICATED, DENIAL_BYTES_UNAUTHENTICATED),
        }
    }
}

impl DenialBudget {
    /// Decides how an event is recorded, and counts it if it is not written whole.
    pub fn admit(
        &mut self,
        subject: &AccountableSubject,
        event: &Event,
        now: Timestamp,
    ) -> Recording {
        match DenialKind::of(event) {
            Some(kind) => self.pool(Some(subject)).admit(subject, kind, event, now),
            None => Recording::Whole,
        }
    }

    /// Counts an event that was to be written whole and could not be.
    pub fn count(&mut self, subject: &AccountableSubject, event: &Event, now: Timestamp) {
        if let Some(kind) = DenialKind::of(event) {
            self.pool(Some(subject)).count(subject, kind, event, now);
        }
    }

    /// Takes the summaries whose minute has passed.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Summary> {
        let mut due = self.authenticated.take_due(Some(now));
        due.extend(self.unauthenticated.take_due(Some(now)));
        due
    }

    /// Takes every summary, also of a minute that has not passed.
    pub fn take_all(&mut self) -> Vec<Summary> {
        let mut all = self.authenticated.take_due(None);
        all.extend(self.unauthenticated.take_due(None));
        all
    }

    /// Takes a summary back that could not be written: it is part of a later one.
    pub fn put_back(&mut self, summary: Summary, now: Timestamp) {
        let subject = summary.subject().cloned();
        self.pool(subject.as_ref()).put_back(subject.as_ref(), summary, now);
    }

    fn pool(&mut self, subject: Option<&AccountableSubject>) -> &mut Pool {
        match subject.is_some_and(AccountableSubject::is_authenticated) {
            true => &mut self.authenticated,
            false => &mut self.unauthenticated,
        }
    }
}
