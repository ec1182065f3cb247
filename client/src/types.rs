//! What the broker tells, as plain data. Times are milliseconds since 1970.

use jeton_domain::secret::Secret;
use serde::{Deserialize, Serialize};

/// One run of one agent.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are those of the protocol, documented there")]
pub struct SessionInfo {
    pub id: String,
    pub agent: String,
    pub person: String,
    pub opener: String,
    pub task: String,
    pub envelope: Vec<String>,
    pub max_grants: u32,
    pub max_grant_ttl_seconds: u32,
    pub opened_at: i64,
    pub expires_at: i64,
    pub state: String,
    pub binding: String,
    pub grants_used: u32,
    pub close_reason: String,
    /// The sessions above it, from the first to its parent.
    pub delegators: Vec<DelegatorInfo>,
    /// The issuers on whose tokens it was opened, and each session above it.
    pub issuers: Vec<String>,
}

/// A session that passed on what it had.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are those of the protocol, documented there")]
pub struct DelegatorInfo {
    pub session: String,
    pub agent: String,
}

/// A recorded permission.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are those of the protocol, documented there")]
pub struct GrantInfo {
    pub id: String,
    pub session: String,
    pub agent: String,
    pub scope: String,
    pub state: String,
    pub requested_at: i64,
    pub expires_at: Option<i64>,
    pub policy_ids: Vec<String>,
    pub policy_hash: String,
    pub guards: Vec<GuardInfo>,
    pub end_reason: String,
    pub upstream_revocation: String,
    pub renewals: u32,
    pub reason: String,
    /// Place in the audit log of the entry that released the credential; absent before that.
    pub entry: Option<u64>,
    /// The sessions above its session.
    pub delegators: Vec<DelegatorInfo>,
    /// When the credential dies by itself, while the upstream has not confirmed its end.
    pub upstream_until: Option<i64>,
    /// Whether the credential goes to the gateway, and never to the agent.
    pub gateway: bool,
}

impl GrantInfo {
    /// Whether something may still come of it: it waits, or its credential is good.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "pending" | "minting" | "active")
    }
}

/// A rule that a person may lift.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are those of the protocol, documented there")]
pub struct GuardInfo {
    pub policy_id: String,
    pub groups: Vec<String>,
    pub reason: String,
}

/// A grant, and its credential once it is active.
pub struct Granted {
    /// The grant.
    pub grant: GrantInfo,
    /// The credential; absent while the grant is pending.
    pub secret: Option<IssuedSecret>,
}

/// A credential.
pub struct IssuedSecret {
    /// The secret itself.
    pub secret: Secret,
    /// `github_installation_token` or `signed_jwt`.
    pub kind: String,
    /// The user name to send beside it where a protocol wants one.
    pub username: String,
    /// When it dies by itself.
    pub expires_at: Option<i64>,
}

/// Who the caller is.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are those of the protocol, documented there")]
pub struct WhoAmI {
    pub principal: String,
    pub kind: String,
    pub authenticated_by: String,
    pub roles: Vec<String>,
    pub session: Option<SessionInfo>,
}

/// What a credential is good for at this moment; all but `active` is empty when it is not.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are those of the protocol, documented there")]
pub struct Introspection {
    pub active: bool,
    pub grant: String,
    pub session: String,
    pub agent: String,
    pub person: String,
    pub scope: String,
    pub expires_at: Option<i64>,
    pub confirmation: String,
    /// The sessions above its session.
    pub delegators: Vec<DelegatorInfo>,
}

/// What a revocation cut.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Revoked {
    /// Grants that were live.
    pub revoked: u32,
    /// Of those, how many the upstream has yet to confirm.
    pub upstream_pending: u32,
    /// Of those, how many no upstream can be told of.
    pub upstream_unsupported: u32,
    /// Of those, how many the upstream was seen to refuse by now.
    pub upstream_confirmed: u32,
    /// When the last of those pending dies by itself; absent if none is.
    pub upstream_until: Option<i64>,
    /// Sessions that ended.
    pub sessions_closed: u32,
    /// The revoked grants, at most 1,000 of them.
    pub grants: Vec<String>,
}

/// A standing order: nothing that matches is granted.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StopInfo {
    /// What, such as `agent spiffe://acme.dev/agent/build-42`.
    pub matching: String,
    /// Who ordered it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: i64,
}

/// A grant that would not be given any more.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct LostInfo {
    /// The grant as it is now.
    pub grant: GrantInfo,
    /// Which layer refuses it.
    pub layer: String,
    /// Why.
    pub reason: String,
    /// Policies that refuse it.
    pub policy_ids: Vec<String>,
}

/// What a session has left for grants of one scope.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Means {
    /// Grants of the envelope that are used.
    pub grants_used: u32,
    /// All of them.
    pub max_grants: u32,
    /// Budgets of the catalogue that such a grant spends from.
    pub budgets: Vec<BudgetInfo>,
}

/// A budget, and what is used of it. A bound that it does not have is 0.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are those of the protocol, documented there")]
pub struct BudgetInfo {
    pub name: String,
    pub per: String,
    pub whom: String,
    pub live: u32,
    pub max_live: u32,
    pub begun: u32,
    pub max_begun: u32,
    pub seconds: u32,
    pub wait_seconds: u32,
    pub calls: u32,
    pub max_calls: u32,
}

/// What deciding again found.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct ReDecided {
    /// Grants that would not be given any more.
    pub lost: Vec<LostInfo>,
    /// Grants that were looked at.
    pub looked_at: u64,
}

/// A page of a list.
#[derive(Debug, Clone, Serialize)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Token of the next page; absent at the end.
    pub next: Option<String>,
}

/// Which page.
#[derive(Debug, Clone)]
pub struct PageOf {
    /// Rows on it.
    pub size: u32,
    /// Token of the page before.
    pub token: Option<String>,
}

impl Default for PageOf {
    fn default() -> Self {
        Self { size: 50, token: None }
    }
}
