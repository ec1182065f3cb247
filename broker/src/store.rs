//! The port to the store: about a dozen verbs, each one complete, atomic, durable step.
//!
//! A verb that returns `Ok` has put the log entry and the state that it changes into one commit
//! on disk. [`RecordedPermit`] and [`Issued`] can be made in this module only: they are the proofs
//! that minting and releasing ask for.

pub mod archive;
mod error;
pub mod index;
mod records;
pub mod sqlite;

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use jeton_domain::{
    approval::{Approval, Unreviewed},
    audit::{Entry, Event},
    budget::{Spend, Used},
    grant::Grant,
    id::{GrantId, RequestId, Row, SessionId},
    merkle::{ConsistencyProof, Frontier, Hash, InclusionProof, SignedCheckpoint, TileId},
    permit::Permit,
    principal::PrincipalId,
    review::{Review, ReviewerName},
    revocation::{Matching, Stops},
    scope::{Resource, Upstream},
    session::Words,
    ttl::{Timestamp, Ttl},
};
use tokio::sync::{mpsc, watch};

pub use self::{error::StoreError, records::*};

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
    /// Milliseconds since 1970 that no DPoP proof is later than which was taken.
    Proofs,
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
    fn pending(&self, below: Option<Row>) -> Vec<GrantId>;

    /// The same, by turns of those who are accountable for them.
    fn pending_by_turns(&self) -> Vec<GrantId>;

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

    /// Grants of a session for the gateway on one resource: active ones, and those that wait for people;
    /// newest first. From memory.
    fn for_gateway(
        &self,
        session: SessionId,
        upstream: &Upstream,
        resource: &Resource,
    ) -> Vec<GrantId>;

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

    /// When a signal of this name was received first: now, if it is new. `None` when too many are
    /// remembered. Each is remembered for `memory` at least.
    async fn first_received(
        &self,
        name: [u8; 32],
        memory: Ttl,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError>;

    /// Keeps a number.
    async fn record_mark(&self, mark: Mark, value: u64) -> Result<(), StoreError>;

    /// How long the oldest write that ends nothing has waited for the writer.
    fn oldest_wait(&self) -> Duration;

    /// Tells whether the store can take writes.
    fn is_healthy(&self) -> bool;
}
