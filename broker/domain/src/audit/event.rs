//! What happens, as the log tells it: one closed set of events.
//!
//! No event has a place for a secret: credentials appear by their keyed fingerprint.

use serde::{Deserialize, Serialize};

use super::{About, DenialCount, Subject};
use crate::{
    accountable::AccountableSubject,
    approval::{Breadth, GlassName, GroupName, Guard, RequestHash},
    decision::{Delivery, Layer, PolicyId},
    deed::Moved,
    delegation::Chain,
    grant::DecidedBy,
    id::SessionId,
    principal::{AuthMethod, Issuer, PrincipalId},
    review::Verdict,
    revocation::{Matching, UpstreamRevocation},
    scope::Scope,
    session::{Envelope, Words},
    ttl::{Timestamp, Ttl},
};

/// Everything that is worth an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The broker started on this store.
    Started {
        /// Its version.
        version: String,
        /// Hash of the policy set in force.
        policy_hash: String,
        /// SHA-256 of the configuration file, in hex.
        configuration: String,
    },
    /// A policy set came into force, or was refused and the old one kept.
    PolicyLoaded {
        /// Hash of the set in force afterwards.
        policy_hash: String,
        /// Why the new one was refused, if it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Words>,
    },
    /// New certificates for the broker's own doors came into force, or were refused.
    CertificatesLoaded {
        /// Why the new ones were refused and the old ones kept, if they were.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Words>,
    },
    /// A caller did not prove who it is, or its session token was rejected.
    SignInFailed {
        /// Why, in the word of the error.
        reason: Words,
        /// How many times; 1 where a subject is named.
        count: u64,
        /// Who answers for the call; absent in entries of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<AccountableSubject>,
    },
    /// Denials of one subject that have no entry of their own, because there were too many.
    DenialsSummarized {
        /// Who answers for them; absent for subjects beyond the number that is counted apart.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<AccountableSubject>,
        /// The agent, where all were of one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<PrincipalId>,
        /// When the first of them was.
        first: Timestamp,
        /// When the last of them was.
        last: Timestamp,
        /// How many, by event and reason.
        counts: Vec<DenialCount>,
        /// Different resources that were denied.
        resources: u64,
        /// Whether there were more of those than are counted.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        more_resources: bool,
    },
    /// Somebody looked into the log.
    LogRead {
        /// Who.
        by: PrincipalId,
        /// How: `list`, `tail`, `export`, `receipt` and so on, with the filter.
        query: Words,
    },
    /// The store is older than a checkpoint that was copied out of it: a backup was put back.
    RestoreFound {
        /// Entries that the checkpoint was signed for.
        signed: u64,
        /// Entries in the store.
        found: u64,
    },
    /// Somebody answers for the store that was put back: granting goes on.
    RestoreAcknowledged {
        /// Who.
        by: PrincipalId,
        /// Why.
        reason: Words,
    },
    /// Old entries left the store for a folder; their hashes stayed.
    EntriesMoved {
        /// The first.
        first: u64,
        /// Behind the last.
        until: u64,
        /// Where to.
        to: Words,
    },
    /// A signing key came into use.
    KeyRotated {
        /// Its id.
        kid: String,
    },
    /// A session opened.
    SessionOpened {
        /// Which.
        session: SessionId,
        /// For which agent.
        agent: PrincipalId,
        /// Acting for whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        person: Option<PrincipalId>,
        /// The sessions above it.
        #[serde(default, skip_serializing_if = "Chain::is_empty")]
        chain: Chain,
        /// By whom.
        opener: PrincipalId,
        /// How the opener proved who it is.
        method: AuthMethod,
        /// The issuers on whose word that was, its own and those of the sessions above.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        issuers: Vec<Issuer>,
        /// To do what.
        task: Words,
        /// With what at most.
        envelope: Envelope,
        /// Bound to what.
        binding: String,
        /// Until when.
        until: Timestamp,
        /// What decided.
        decided_by: DecidedBy,
    },
    /// Policy did not let a caller open a session.
    SessionRefused {
        /// For which agent.
        agent: PrincipalId,
        /// The sessions above it.
        #[serde(default, skip_serializing_if = "Chain::is_empty")]
        chain: Chain,
        /// By whom.
        opener: PrincipalId,
        /// Why.
        reason: Words,
        /// What decided.
        decided_by: DecidedBy,
    },
    /// A session ended.
    SessionClosed {
        /// Which.
        session: SessionId,
        /// Of which agent.
        agent: PrincipalId,
        /// Acting for whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        person: Option<PrincipalId>,
        /// The sessions above it.
        #[serde(default, skip_serializing_if = "Chain::is_empty")]
        chain: Chain,
        /// By whom; absent when its deadline passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<PrincipalId>,
        /// Why.
        reason: Words,
    },
    /// A request was refused.
    Denied {
        /// In which session.
        session: SessionId,
        /// By which agent.
        agent: PrincipalId,
        /// For whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        person: Option<PrincipalId>,
        /// The sessions above it.
        #[serde(default, skip_serializing_if = "Chain::is_empty")]
        chain: Chain,
        /// What it asked for.
        scope: Scope,
        /// Where the credential was to go; left out where the agent would have got it.
        #[serde(default, skip_serializing_if = "Delivery::is_direct")]
        delivery: Delivery,
        /// Which layer refused.
        layer: Layer,
        /// Why.
        reason: Words,
        /// What decided.
        decided_by: DecidedBy,
    },
    /// A request waits for people.
    Pending {
        /// Which grant.
        #[serde(flatten)]
        about: About,
        /// What waits.
        guards: Vec<Guard>,
        /// Until when.
        until: Timestamp,
    },
    /// A credential is about to be minted. Durable before the upstream hears of it.
    Intent {
        /// Which grant.
        #[serde(flatten)]
        about: About,
        /// For how long.
        ttl: Ttl,
    },
    /// A credential was minted. Durable before anybody gets it.
    Issued {
        /// Which grant.
        #[serde(flatten)]
        about: About,
        /// Keyed fingerprint of the credential.
        fingerprint: String,
        /// When the grant ends.
        until: Timestamp,
    },
    /// A credential was replaced.
    Renewed {
        /// Which grant.
        #[serde(flatten)]
        about: About,
        /// Keyed fingerprint of the new credential.
        fingerprint: String,
        /// When the grant ends now.
        until: Timestamp,
    },
    /// No credential came to be, or none that may be used.
    MintFailed {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// Why.
        reason: Words,
        /// What is known of a credential that may exist.
        upstream: UpstreamRevocation,
    },
    /// A push was let through. Durable before the upstream hears of it.
    Pushed {
        /// Under which grant.
        #[serde(flatten)]
        of: Subject,
        /// The refs that it moves.
        refs: Vec<Moved>,
        /// Objects that it brings.
        objects: u64,
        /// Bytes that it brings.
        bytes: u64,
    },
    /// A grant was used through the gateway.
    Used {
        /// Which.
        #[serde(flatten)]
        of: Subject,
        /// The method and the path, without what may be secret in it.
        request: Words,
        /// What was answered.
        status: u16,
        /// Bytes that went to the upstream.
        sent: u64,
        /// Bytes that came back.
        received: u64,
        /// Milliseconds until the last of them.
        millis: u64,
        /// Why it was cut before its end, if it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut: Option<Words>,
        /// Of how many ordinary reads this is the one that is told, if not each is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        one_of: Option<u32>,
    },
    /// A grant was given back.
    Released {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// What is left to do upstream.
        upstream: UpstreamRevocation,
    },
    /// A grant's deadline passed.
    Expired {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// What is left to do upstream.
        upstream: UpstreamRevocation,
    },
    /// Nobody approved in time.
    Lapsed {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
    },
    /// A grant was taken back.
    Revoked {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// By whom.
        by: PrincipalId,
        /// Why.
        reason: Words,
        /// What is left to do upstream.
        upstream: UpstreamRevocation,
    },
    /// Somebody asked to take back all that matches.
    RevocationAsked {
        /// What.
        matching: Matching,
        /// By whom.
        by: PrincipalId,
        /// Why.
        reason: Words,
        /// Whether nothing that matches is granted from now on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stop: bool,
    },
    /// A try to revoke a credential upstream failed and will be repeated.
    UpstreamFailed {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// Tries so far.
        attempts: u32,
        /// When it is tried again.
        again: Timestamp,
    },
    /// The upstream answered about a credential that ended.
    UpstreamAnswered {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// What.
        upstream: UpstreamRevocation,
    },
    /// Somebody lifted a stop: what matches may be granted again.
    StopLifted {
        /// What was stopped.
        matching: Matching,
        /// By whom it is lifted.
        by: PrincipalId,
        /// Why.
        reason: Words,
    },
    /// Live grants were decided again, and some would not be given any more. Each that was taken back
    /// has an entry of its own.
    ReDecided {
        /// Who wanted it: an operator, or the broker after the policies changed.
        by: PrincipalId,
        /// Hash of the set that decided.
        policy_hash: String,
        /// Grants that were looked at.
        looked_at: u64,
        /// Those that would not be given any more.
        refused: u64,
        /// Those of them that were taken back.
        revoked: u64,
    },
    /// An upstream does not agree with what is recorded of a live grant.
    DriftFound {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// What the upstream says of its credential.
        found: Words,
    },
    /// A person approved a request that waits.
    Approved {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// Who.
        by: PrincipalId,
        /// For which groups.
        groups: Vec<GroupName>,
        /// Which guards that lifts.
        guards: Vec<PolicyId>,
        /// Hash of what was asked.
        request_hash: RequestHash,
        /// Hash of the policies that it holds under.
        policy_hash: String,
        /// How far it reaches.
        reaches: Breadth,
        /// Why.
        reason: Words,
    },
    /// A person took back an approval that was not used up.
    ApprovalWithdrawn {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// Who.
        by: PrincipalId,
        /// The entry of the approval.
        approval: u64,
    },
    /// A person refused a request that waited.
    Rejected {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// Who.
        by: PrincipalId,
        /// Why.
        reason: Words,
    },
    /// An operator went back to a set of policies that was in force before.
    PolicyRolledBack {
        /// Who.
        by: PrincipalId,
        /// Why.
        reason: Words,
        /// Hash of the set that is in force now.
        policy_hash: String,
        /// Hash of the folder's set, in whose place it holds.
        instead_of: String,
    },
    /// An operator wants to go back to a set of policies; another one has to want the same.
    PolicyProposed {
        /// Who.
        by: PrincipalId,
        /// Why.
        reason: Words,
        /// Hash of the set.
        policy_hash: String,
    },
    /// A named person lifted guards alone, in an emergency.
    GlassBroken {
        /// Which grant waited.
        #[serde(flatten)]
        of: Subject,
        /// Who.
        by: PrincipalId,
        /// For which groups.
        groups: Vec<GroupName>,
        /// Which guards that lifts.
        guards: Vec<PolicyId>,
        /// Hash of what was asked.
        request_hash: RequestHash,
        /// Hash of the policies that it holds under.
        policy_hash: String,
        /// How far it reaches.
        reaches: Breadth,
        /// Why.
        reason: Words,
    },
    /// Somebody else looked at an emergency afterwards.
    GlassReviewed {
        /// The entry that told of it.
        entry: u64,
        /// What the person was named for.
        glass: GlassName,
        /// Who it was.
        broken_by: PrincipalId,
        /// Who looked at it.
        by: PrincipalId,
        /// Whether it was one.
        justified: bool,
        /// What there is to say.
        words: Words,
    },
    /// A person said something about a request that waits.
    Commented {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// Who.
        by: PrincipalId,
        /// What.
        words: Words,
    },
    /// A reviewer is about to be asked about a request that waits.
    ReviewAsked {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// The reviewer.
        by: PrincipalId,
        /// Hash of what is asked.
        request_hash: RequestHash,
        /// SHA-256 of the question as it is sent, in hex.
        inputs: String,
    },
    /// A reviewer answered, or did not.
    ReviewAnswered {
        /// Which grant.
        #[serde(flatten)]
        of: Subject,
        /// The reviewer.
        by: PrincipalId,
        /// What counts of it.
        verdict: Verdict,
        /// Why, in its words.
        reason: Words,
        /// Hash of what was asked.
        request_hash: RequestHash,
        /// SHA-256 of the question as it was sent, in hex; absent if none was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inputs: Option<String>,
        /// SHA-256 of the answer as it came, in hex; absent if none did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<String>,
        /// Why people have to say, if it did not say so itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Words>,
    },
}
