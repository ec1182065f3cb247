//! The port to the store: about a dozen verbs, each one complete, atomic, durable step.
//!
//! A verb that returns `Ok` has put the log entry and the state that it changes into one commit
//! on disk. [`RecordedPermit`] and [`Issued`] can be made in this module only: they are the proofs
//! that minting and releasing ask for.

pub mod archive;
pub mod index;
pub mod sqlite;

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use async_trait::async_trait;
use jeton_domain::{
    approval::{Approval, Breadth, GroupName, RequestHash, Unreviewed},
    audit::{Entry, Event},
    budget::{OverBudget, Spend, Used},
    decision::PolicyId,
    grant::{DecidedBy, Grant, Phase},
    id::{GrantId, RequestId, Row, SessionId},
    merkle::{ConsistencyProof, Frontier, Hash, InclusionProof, SignedCheckpoint, TileId},
    permit::Permit,
    principal::{AuthMethod, PrincipalId},
    review::{Review, ReviewerName},
    revocation::{Matching, Stops, UpstreamRevocation},
    scope::Upstream,
    session::{Session, SessionState, Words},
    ttl::{Timestamp, Ttl},
};
use tokio::sync::{mpsc, watch};

/// Which checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointKind {
    /// The newest.
    Newest,
    /// The newest that witnesses cosigned.
    Witnessed,
}

/// A number that the store keeps about the world outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Entries of the first checkpoint that was copied to a file: from then on there is one.
    Copied,
    /// Entries of the checkpoint for which an operator answered when the store had been put back.
    Acknowledged,
    /// Entries of which this receiver of signals was told.
    Told(u64),
}

/// A permit whose intent is durable. Minting uses it up.
pub struct RecordedPermit {
    grant: GrantId,
    version: u32,
    permit: Permit,
}

impl RecordedPermit {
    /// The grant it was recorded as.
    #[must_use]
    pub fn grant(&self) -> GrantId {
        self.grant
    }

    /// Which of the grant's credentials it is for: the number of renewals before it.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What was allowed.
    #[must_use]
    pub fn permit(&self) -> &Permit {
        &self.permit
    }
}

/// The proof that a grant's record is durable, so that its credential may be released.
pub struct Issued {
    grant: Grant,
}

impl Issued {
    /// The grant as recorded.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The grant, when the proof has served.
    #[must_use]
    pub fn into_grant(self) -> Grant {
        self.grant
    }
}

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
}

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

/// The ids of the policies, and the grants: what the store keeps, in whole steps.
#[async_trait]
pub trait Store: Send + Sync {
    /// Reserves an id that no record has or will have.
    fn reserve_session(&self) -> SessionId;

    /// Reserves an id that no record has or will have.
    fn reserve_grant(&self) -> GrantId;

    /// The largest number that a grant has by now.
    fn last_grant(&self) -> u64;

    /// Records an event that changes no state.
    async fn append(&self, event: Event, now: Timestamp) -> Result<(), StoreError>;

    /// Opens a session. The same opener and request id again give the session opened first.
    async fn open_session(&self, draft: SessionDraft) -> Result<SessionRecord, StoreError>;

    /// Ends a session and all below it, once, and revokes their live grants in the same step.
    async fn end_session(
        &self,
        id: SessionId,
        ending: SessionEnding,
        now: Timestamp,
    ) -> Result<Cut, StoreError>;

    /// Records a request that waits for people.
    async fn record_pending(
        &self,
        draft: PendingDraft,
        now: Timestamp,
    ) -> Result<Grant, StoreError>;

    /// Records a person's yes to a request that waits. The same again gives the one recorded first.
    async fn record_approval(
        &self,
        draft: ApprovalDraft,
        now: Timestamp,
    ) -> Result<Approval, StoreError>;

    /// Records that somebody reviewed an emergency. Tells whether there was one to review.
    async fn record_glass_review(
        &self,
        review: GlassReview,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Emergencies that nobody has reviewed yet, oldest first.
    async fn unreviewed(&self) -> Result<Vec<Unreviewed>, StoreError>;

    /// Takes a person's yes back. Tells whether there was one.
    async fn withdraw_approval(
        &self,
        id: GrantId,
        whose: PrincipalId,
        by: PrincipalId,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Records intent and issue at once for a grant that waited; its approvals are used up with it.
    async fn record_approved_signed(
        &self,
        id: GrantId,
        permit: Permit,
        issue: IssueRecord,
    ) -> Result<Issued, StoreError>;

    /// Records the intent of a grant that waited; its approvals are used up with it.
    async fn record_approved_intent(
        &self,
        id: GrantId,
        permit: Permit,
    ) -> Result<RecordedPermit, StoreError>;

    /// How much is used of what a grant would spend. From memory.
    fn used(&self, spends: &[Spend], now: Timestamp) -> Vec<Used>;

    /// Approvals of a session that are not used up, with how often each was used.
    fn approvals(&self, session: SessionId) -> Vec<(Arc<Approval>, u32)>;

    /// Records what came of asking a reviewer: once for each request and reviewer, later ones change
    /// nothing.
    async fn record_review(&self, draft: ReviewDraft, now: Timestamp) -> Result<(), StoreError>;

    /// Reviewers that are still to be asked, or whose answer is not recorded yet. From memory.
    fn due_reviews(&self) -> Vec<(GrantId, ReviewerName)>;

    /// The reviews of a request that waits. From memory.
    fn reviews(&self, id: GrantId) -> Vec<Arc<Review>>;

    /// How many yes a reviewer gave in a session. `None` when the store is broken: then nothing is known.
    fn reviews_given(&self, session: SessionId, reviewer: &ReviewerName) -> Option<u32>;

    /// Another number than before if something changed about what waits for people. From memory.
    fn asked(&self) -> u64;

    /// Tells whether a grant waits for people. From memory.
    fn is_pending(&self, id: GrantId) -> bool;

    /// The proof that an active grant's record is durable.
    async fn issued(&self, id: GrantId) -> Result<Issued, StoreError>;

    /// Grants that wait for people, newest first.
    fn pending(&self, most: usize) -> Vec<GrantId>;

    /// Records that a credential is about to be minted.
    async fn record_intent(
        &self,
        id: GrantId,
        permit: Permit,
        request_id: Option<RequestId>,
    ) -> Result<Intent, StoreError>;

    /// Records that a credential was minted under an intent.
    /// `Conflict` when the grant was revoked in between: the credential must not go out.
    async fn record_issued(
        &self,
        id: GrantId,
        issue: IssueRecord,
        now: Timestamp,
    ) -> Result<Issued, StoreError>;

    /// Records intent and issue at once, for credentials that need no upstream.
    async fn record_signed(
        &self,
        id: GrantId,
        permit: Permit,
        request_id: Option<RequestId>,
        issue: IssueRecord,
    ) -> Result<Signed, StoreError>;

    /// Records that an active grant's credential is about to be replaced.
    async fn record_renewal_intent(
        &self,
        id: GrantId,
        permit: Permit,
    ) -> Result<RecordedPermit, StoreError>;

    /// Records that it was replaced; the credential before is queued for revocation.
    async fn record_renewed(
        &self,
        id: GrantId,
        issue: IssueRecord,
        now: Timestamp,
    ) -> Result<Issued, StoreError>;

    /// Records that minting gave nothing usable.
    async fn record_failure(&self, failure: Failure, now: Timestamp) -> Result<Grant, StoreError>;

    /// Ends a live grant, once; what is sealed is queued for revocation upstream.
    async fn end_grant(
        &self,
        id: GrantId,
        ending: Ending,
        now: Timestamp,
    ) -> Result<Ended, StoreError>;

    /// Takes back all that matches, in one step.
    async fn revoke_matching(
        &self,
        matching: Matching,
        order: Order,
        now: Timestamp,
    ) -> Result<Cut, StoreError>;

    /// Lifts a stop. Tells whether there was one.
    async fn lift_stop(
        &self,
        matching: Matching,
        by: PrincipalId,
        reason: Words,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// What is granted to nobody. `None` when the store is broken: then nothing is known.
    fn stops(&self) -> Option<Arc<Stops>>;

    /// The next queued revocations that are due, so many at most for each upstream. Each stays
    /// queued until it is recorded.
    async fn due_revocations(
        &self,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<QueuedRevocation>, StoreError>;

    /// Records what a try to revoke upstream led to.
    async fn record_revocation_try(
        &self,
        queued: QueuedRevocation,
        outcome: RevocationTry,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Grants whose time has come, and mints begun before `minting_before`.
    fn due_grants(&self, now: Timestamp, minting_before: Timestamp, most: usize) -> Vec<GrantId>;

    /// Sessions whose time has come.
    fn due_sessions(&self, now: Timestamp, most: usize) -> Vec<SessionId>;

    /// Tells whether a grant is active at this moment. From memory: it answers introspection.
    fn is_active(&self, id: GrantId, now: Timestamp) -> bool;

    /// Active grants at an upstream.
    fn active_at(&self, upstream: &Upstream) -> Vec<GrantId>;

    /// Active grants whose numbers are at least that of `from`, in order.
    fn active_from(&self, from: Option<Row>, most: usize) -> Vec<GrantId>;

    /// How many grants are live.
    fn live_grants(&self) -> u64;

    /// Grants that ended early by entries from `from` on, in that order. From memory: those whose
    /// credentials are dead by themselves are forgotten.
    fn ended_early(&self, from: u64, most: usize) -> Vec<EndedEarly>;

    /// Of the grants that ended early, those whose numbers are in a range.
    fn ended_rows(&self, rows: Range<u64>) -> Vec<Row>;

    /// Told anew after each commit that ended some grant early.
    fn endings(&self) -> watch::Receiver<()>;

    /// Forgets grants that ended early and whose credentials are dead by now. Tells how many.
    async fn forget_ended(&self, now: Timestamp, most: usize) -> Result<usize, StoreError>;

    /// One session. An open one is shared, not copied: every call looks it up.
    async fn session(&self, id: SessionId) -> Result<Arc<SessionRecord>, StoreError>;

    /// How many grants a session has asked for.
    async fn grants_used(&self, id: SessionId) -> Result<u32, StoreError>;

    /// One grant.
    async fn grant(&self, id: GrantId) -> Result<Grant, StoreError>;

    /// The sealed credential of an active grant, for a safe retry.
    async fn sealed(&self, id: GrantId) -> Result<Option<(Sealed, u32, Timestamp)>, StoreError>;

    /// Sessions, newest first.
    async fn list_sessions(
        &self,
        filter: SessionFilter,
        page: PageAt,
    ) -> Result<PageOf<SessionRecord>, StoreError>;

    /// Grants, newest first.
    async fn list_grants(
        &self,
        filter: GrantFilter,
        page: PageAt,
    ) -> Result<PageOf<Grant>, StoreError>;

    /// The right edge of the log, told anew after each commit that appended to it.
    fn growth(&self) -> watch::Receiver<Frontier>;

    /// The entries of each commit, for one reader; whoever is slow misses some and reads them with
    /// [`Store::entries`].
    fn feed(&self) -> Option<mpsc::Receiver<Vec<Entry>>>;

    /// The first entry that is still in the store; older ones are in the archive.
    async fn first_entry(&self) -> Result<u64, StoreError>;

    /// Writes entries to the archive, in whole bundles, and reads them back.
    async fn archive(&self, from: u64, until: u64) -> Result<(), StoreError>;

    /// Takes archived entries out of the store and records where they went.
    async fn drop_entries(&self, below: u64, to: Words, now: Timestamp) -> Result<(), StoreError>;

    /// Texts of the log's entries from `from` on, at most `most`, perhaps fewer than there are.
    async fn entries(&self, from: u64, most: u32) -> Result<Vec<String>, StoreError>;

    /// Texts of the entries at these indexes, in this order.
    async fn entries_at(&self, places: Vec<u64>) -> Result<Vec<String>, StoreError>;

    /// Hashes of one tile of the log.
    async fn tile(&self, id: TileId) -> Result<Vec<Hash>, StoreError>;

    /// Root of the log as it was with `size` entries.
    async fn root(&self, size: u64) -> Result<Hash, StoreError>;

    /// Proves that an entry is in the log as it was with `size` entries.
    async fn inclusion(&self, index: u64, size: u64) -> Result<InclusionProof, StoreError>;

    /// Proves that the log with `new` entries begins with the one with `old`.
    async fn consistency(&self, old: u64, new: u64) -> Result<ConsistencyProof, StoreError>;

    /// Keeps a checkpoint as the newest of its kind, unless a larger one is kept.
    async fn record_checkpoint(
        &self,
        kind: CheckpointKind,
        checkpoint: SignedCheckpoint,
    ) -> Result<(), StoreError>;

    /// The newest checkpoint of a kind, as it was signed.
    async fn checkpoint(&self, kind: CheckpointKind) -> Result<Option<String>, StoreError>;

    /// A number that was kept.
    async fn mark(&self, mark: Mark) -> Result<Option<u64>, StoreError>;

    /// Keeps a number.
    async fn record_mark(&self, mark: Mark, value: u64) -> Result<(), StoreError>;

    /// Tells whether the store can take writes.
    fn is_healthy(&self) -> bool;
}
