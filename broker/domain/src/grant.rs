//! A grant and the only ways in which its state may change.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    approval::Guard,
    decision::{Delivery, PolicyId},
    delegation::Chain,
    id::{GrantId, RequestId, SessionId},
    principal::PrincipalId,
    revocation::UpstreamRevocation,
    scope::Scope,
    session::Words,
    ttl::{Timestamp, Ttl},
};

/// A grant as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Identifier.
    pub id: GrantId,
    /// Its session.
    pub session: SessionId,
    /// The session's agent.
    pub agent: PrincipalId,
    /// The session's person.
    pub person: Option<PrincipalId>,
    /// The sessions above it.
    pub chain: Chain,
    /// What it opens.
    pub scope: Scope,
    /// Where its credential goes.
    pub delivery: Delivery,
    /// How long it was given, from the moment it becomes active.
    pub ttl: Ttl,
    /// The agent's words for it. Untrusted.
    pub reason: Words,
    /// The caller's key for a safe retry.
    pub request_id: Option<RequestId>,
    /// What decided.
    pub decided_by: DecidedBy,
    /// When it was asked for.
    pub requested: Timestamp,
    /// Times its credential was replaced.
    pub renewals: u32,
    /// Index of the log entry that its credential was released with; `None` before there is one.
    pub entry: Option<u64>,
    /// Where it stands.
    pub state: GrantState,
}

/// The policies behind a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecidedBy {
    /// Ids, in order.
    pub policies: Vec<PolicyId>,
    /// Hash of the set.
    pub policy_hash: Arc<str>,
    /// Entries of the approvals that it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<u64>,
}

/// Where a grant stands. Each state carries what is known in it and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum GrantState {
    /// Guards wait for people.
    Pending {
        /// Which.
        guards: Vec<Guard>,
        /// When the question lapses.
        until: Timestamp,
    },
    /// The intent is durable, the upstream is being asked.
    Minting {
        /// Since when.
        since: Timestamp,
    },
    /// The credential works.
    Active {
        /// Until when.
        until: Timestamp,
    },
    /// Its session gave it back.
    Released {
        /// When.
        at: Timestamp,
        /// What the upstream said.
        upstream: UpstreamRevocation,
    },
    /// Its deadline passed.
    Expired {
        /// When that was noticed.
        at: Timestamp,
        /// What the upstream said.
        upstream: UpstreamRevocation,
    },
    /// Somebody took it back.
    Revoked {
        /// When.
        at: Timestamp,
        /// Who.
        by: PrincipalId,
        /// Why.
        reason: Words,
        /// What the upstream said.
        upstream: UpstreamRevocation,
    },
    /// No credential came to be, or none that may be used.
    Failed {
        /// When.
        at: Timestamp,
        /// Why.
        reason: Words,
        /// What is known of a credential that may have come to be.
        upstream: UpstreamRevocation,
    },
    /// Nobody approved in time.
    Lapsed {
        /// When that was noticed.
        at: Timestamp,
    },
    /// Somebody who was asked said no.
    Rejected {
        /// When.
        at: Timestamp,
        /// Who.
        by: PrincipalId,
        /// Why.
        reason: Words,
    },
}

/// The kind of a state, for filters and comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for people.
    Pending,
    /// The upstream is being asked.
    Minting,
    /// Its credential works.
    Active,
    /// Given back.
    Released,
    /// Over.
    Expired,
    /// Taken back.
    Revoked,
    /// Never came to be.
    Failed,
    /// Nobody approved.
    Lapsed,
    /// Somebody said no.
    Rejected,
}

impl Phase {
    /// Every phase, in the order of the numbers that stores keep.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Minting,
        Self::Active,
        Self::Released,
        Self::Expired,
        Self::Revoked,
        Self::Failed,
        Self::Lapsed,
        Self::Rejected,
    ];

    /// Tells whether something may still happen to it: it must be watched.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Minting | Self::Active)
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Minting => "minting",
            Self::Active => "active",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Failed => "failed",
            Self::Lapsed => "lapsed",
            Self::Rejected => "rejected",
        }
    }

    /// Tells whether a grant may pass from `self` to `next` in one step.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use Phase::{
            Active, Expired, Failed, Lapsed, Minting, Pending, Rejected, Released, Revoked,
        };
        match self {
            Pending => {
                matches!(next, Minting | Active | Released | Revoked | Lapsed | Rejected)
            }
            Minting => matches!(next, Active | Revoked | Failed),
            // Active → Active is a renewal.
            Active => matches!(next, Active | Released | Expired | Revoked),
            Released | Expired | Revoked | Failed | Lapsed | Rejected => false,
        }
    }
}

impl GrantState {
    /// Its kind.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::Pending { .. } => Phase::Pending,
            Self::Minting { .. } => Phase::Minting,
            Self::Active { .. } => Phase::Active,
            Self::Released { .. } => Phase::Released,
            Self::Expired { .. } => Phase::Expired,
            Self::Revoked { .. } => Phase::Revoked,
            Self::Failed { .. } => Phase::Failed,
            Self::Lapsed { .. } => Phase::Lapsed,
            Self::Rejected { .. } => Phase::Rejected,
        }
    }

    /// When something must be done about it without anyone asking.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Pending { until, .. } | Self::Active { until } => Some(*until),
            Self::Minting { since } => Some(*since),
            Self::Released { .. }
            | Self::Expired { .. }
            | Self::Revoked { .. }
            | Self::Failed { .. }
            | Self::Lapsed { .. }
            | Self::Rejected { .. } => None,
        }
    }

    /// What the upstream said, once the grant ended.
    #[must_use]
    pub fn upstream(&self) -> Option<UpstreamRevocation> {
        match self {
            Self::Released { upstream, .. }
            | Self::Expired { upstream, .. }
            | Self::Revoked { upstream, .. }
            | Self::Failed { upstream, .. } => Some(*upstream),
            Self::Pending { .. }
            | Self::Minting { .. }
            | Self::Active { .. }
            | Self::Lapsed { .. }
            | Self::Rejected { .. } => None,
        }
    }

    /// The same state with another answer of the upstream. Nothing changes while it is live.
    #[must_use]
    pub fn with_upstream(mut self, answer: UpstreamRevocation) -> Self {
        match &mut self {
            Self::Released { upstream, .. }
            | Self::Expired { upstream, .. }
            | Self::Revoked { upstream, .. }
            | Self::Failed { upstream, .. } => *upstream = answer,
            Self::Pending { .. }
            | Self::Minting { .. }
            | Self::Active { .. }
            | Self::Lapsed { .. }
            | Self::Rejected { .. } => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_never_comes_back() {
        for from in Phase::ALL {
            for to in Phase::ALL {
                if from.may_become(to) {
                    assert!(from.is_live(), "{from:?} → {to:?}");
                    assert_ne!(to, Phase::Pending);
                }
            }
        }
        assert!(!Phase::Revoked.may_become(Phase::Active));
        assert!(Phase::Active.may_become(Phase::Active), "a renewal");
    }
}
