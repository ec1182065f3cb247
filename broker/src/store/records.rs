//! What goes into the store and comes out of it, as plain data.

use std::{collections::BTreeSet, sync::Arc};

use jeton_domain::{
    approval::{Breadth, GroupName, RequestHash},
    decision::PolicyId,
    grant::{DecidedBy, Grant, Phase},
    id::{GrantId, RequestId, Row, SessionId},
    people::{Account, People},
    principal::{AuthMethod, PrincipalId},
    review::ReviewerName,
    revocation::UpstreamRevocation,
    scope::Upstream,
    session::{Session, SessionState, Words},
    ttl::{Timestamp, Ttl},
};

use super::{Issued, RecordedPermit};

/// An encrypted credential. Its key stands outside the store.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

/// What is known of a credential when its record is written.
pub struct IssueRecord {
    /// Keyed fingerprint.
    pub fingerprint: String,
    /// The credential, encrypted, if the upstream must be told when it ends.
    pub sealed: Option<Sealed>,
    /// What decided.
    pub decided_by: DecidedBy,
    /// How long it was given.
    pub ttl: Ttl,
    /// When the grant ends.
    pub until: Timestamp,
    /// When the credential dies by itself.
    pub dies: Timestamp,
}

/// How a request to record a permit went.
pub enum Intent {
    /// Recorded now.
    Fresh(RecordedPermit),
    /// The same request id was recorded before, as this grant.
    Seen(Issued),
}

/// How a request to record a permit and its credential at once went.
pub enum Signed {
    /// Recorded now.
    Fresh(Issued),
    /// The same request id was recorded before, as this grant.
    Seen(Issued),
}

/// A session and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// The session.
    pub session: Session,
    /// Its state.
    pub state: SessionState,
}

/// How to open a session.
pub struct SessionDraft {
    /// The session; its id was reserved.
    pub session: Session,
    /// How the opener proved who it is.
    pub method: AuthMethod,
    /// What decided.
    pub decided_by: DecidedBy,
    /// The opener's key for a safe retry.
    pub request_id: Option<RequestId>,
}

/// A request that waits for people.
pub struct PendingDraft {
    /// The grant in state pending; its id was reserved.
    pub grant: Grant,
    /// Who is asked before people.
    pub reviewers: BTreeSet<ReviewerName>,
}

/// A person's yes, before it is recorded.
#[derive(Debug, Clone)]
pub struct ApprovalDraft {
    /// The grant that waits.
    pub grant: GrantId,
    /// Who.
    pub by: PrincipalId,
    /// The account that the token of the approver is about, if it came with one.
    pub account: Option<Account>,
    /// For which groups.
    pub groups: BTreeSet<GroupName>,
    /// Which guards it lifts.
    pub guards: BTreeSet<PolicyId>,
    /// The hash of what was asked.
    pub request_hash: RequestHash,
    /// How far it reaches.
    pub breadth: Breadth,
    /// Why.
    pub reason: Words,
    /// When it ends by itself.
    pub until: Timestamp,
}

/// A look at an emergency afterwards.
#[derive(Debug, Clone)]
pub struct GlassReview {
    /// The entry that tells of it.
    pub entry: u64,
    /// Who looks at it.
    pub by: PrincipalId,
    /// Whether it was one.
    pub justified: bool,
    /// What there is to say.
    pub words: Words,
}

/// What came of asking a reviewer, before it is recorded.
#[derive(Debug, Clone)]
pub struct ReviewDraft {
    /// The grant that waits.
    pub grant: GrantId,
    /// Who was asked.
    pub reviewer: ReviewerName,
    /// The hash of what was asked.
    pub request_hash: RequestHash,
    /// SHA-256 of the question, in hex, if it was sent.
    pub inputs: Option<String>,
    /// SHA-256 of the answer, in hex, if one came.
    pub answer: Option<String>,
    /// Why, in its words.
    pub reason: Words,
    /// How many yes it may give in one session.
    pub most: Option<u32>,
    /// What follows.
    pub outcome: ReviewOutcome,
}

/// What follows from a reviewer's answer.
#[derive(Debug, Clone)]
pub enum ReviewOutcome {
    /// Its yes is recorded.
    Approve(ApprovalDraft),
    /// The request ends with these words to the agent, and its yes for something narrower is recorded.
    Narrow {
        /// The yes.
        approval: ApprovalDraft,
        /// What to ask instead.
        words: Words,
    },
    /// People have to say; and why, if it did not say so itself.
    Escalate(Option<Words>),
}

impl ReviewOutcome {
    /// Why people have to say, if the reviewer did not say so itself.
    #[must_use]
    pub fn cause(&self) -> Option<&Words> {
        match self {
            Self::Escalate(cause) => cause.as_ref(),
            Self::Approve(_) | Self::Narrow { .. } => None,
        }
    }
}

/// Why a grant ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its session gave it back.
    Released,
    /// Its deadline passed.
    Expired,
    /// Somebody took it back.
    Revoked {
        /// Who.
        by: PrincipalId,
        /// Why.
        reason: Words,
    },
    /// Nobody approved in time.
    Lapsed,
    /// Somebody who was asked said no.
    Rejected {
        /// Who.
        by: PrincipalId,
        /// Why.
        reason: Words,
    },
}

/// A grant that ended, or had ended before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The grant as it is now.
    pub grant: Grant,
    /// Whether this call ended it.
    pub changed: bool,
}

/// A mint that gave nothing usable.
#[derive(Clone)]
pub struct Failure {
    /// Which grant.
    pub grant: GrantId,
    /// Why.
    pub reason: Words,
    /// What is known of a credential that may exist.
    pub upstream: UpstreamRevocation,
    /// A credential that exists and must be revoked.
    pub unusable: Option<Unusable>,
}

/// A credential that exists and that nobody may get.
#[derive(Clone)]
pub struct Unusable {
    /// The credential, encrypted.
    pub sealed: Sealed,
    /// Which renewal it came from: part of what the encryption is bound to.
    pub version: u32,
    /// When it dies by itself.
    pub dies: Timestamp,
}

/// A credential that the upstream must be told about.
#[derive(Clone, PartialEq, Eq)]
pub struct QueuedRevocation {
    /// Its place in the queue.
    pub place: i64,
    /// The grant.
    pub grant: GrantId,
    /// Where.
    pub upstream: Upstream,
    /// The credential, encrypted.
    pub sealed: Sealed,
    /// Which renewal it came from: part of what the encryption is bound to.
    pub version: u32,
    /// When it dies by itself.
    pub dies: Timestamp,
    /// Tries so far.
    pub attempts: u32,
}

/// What became of a try to revoke upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationTry {
    /// The upstream was seen to refuse it, or it is past its own end.
    Done {
        /// When.
        at: Timestamp,
    },
    /// Not yet.
    Again {
        /// When to try next.
        next: Timestamp,
    },
}

/// Which grants a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantFilter {
    /// Of one session.
    pub session: Option<SessionId>,
    /// Of one agent.
    pub agent: Option<PrincipalId>,
    /// In one phase.
    pub phase: Option<Phase>,
    /// Of sessions opened by this principal, or running as it.
    pub concerning: Option<PrincipalId>,
}

/// Which sessions a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Of one agent.
    pub agent: Option<PrincipalId>,
    /// In one state.
    pub state: Option<SessionPhase>,
    /// Opened by this principal, or running as it.
    pub concerning: Option<PrincipalId>,
}

/// The kind of a session's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionPhase {
    /// Grants may be requested.
    Open,
    /// Somebody closed it.
    Closed,
    /// Its deadline passed.
    Expired,
}

/// Where a list goes on: rows below this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageAt {
    /// Only rows below; `None` starts at the newest.
    pub below: Option<Row>,
    /// How many.
    pub size: u32,
}

/// One page and where the next one starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageOf<T> {
    /// Newest first.
    pub rows: Vec<T>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Row>,
}

/// What ended a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnding {
    /// Somebody closed it.
    Closed {
        /// Who.
        by: PrincipalId,
        /// Why.
        reason: Words,
    },
    /// Its deadline passed.
    Expired {
        /// The name under which the broker revokes.
        by: PrincipalId,
    },
}

/// A grant that ended while a credential of it would still look good by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedEarly {
    /// Index of the entry that ended it.
    pub entry: u64,
    /// The grant.
    pub grant: GrantId,
    /// The number of its session.
    pub session: Row,
    /// When the last of its credentials dies by itself.
    pub dies: Timestamp,
}

/// What was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// How many sessions ended.
    pub sessions: usize,
    /// The grants that were live.
    pub grants: Vec<Grant>,
}

/// How something is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Who wants it.
    pub by: PrincipalId,
    /// Why.
    pub reason: Words,
    /// Nothing that matches is granted again until that is lifted.
    pub stop: bool,
    /// Only sessions that opened up to this time; if there are none, nothing is recorded at all.
    pub opened_until: Option<Timestamp>,
    /// The people whose names are known: what is meant of a person is meant under each of them.
    pub people: Arc<People>,
}
