//! Grants and their credentials as the broker tells them.

use std::time::SystemTime;

use jeton_domain::secret::Secret;
use serde::Serialize;

/// A recorded permission for one session and one scope until a deadline.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Grant {
    /// Identifier, `gr_…`.
    pub id: String,
    /// The session it belongs to.
    pub session: String,
    /// The agent of that session.
    pub agent: String,
    /// What it opens, in text form.
    pub scope: String,
    /// `pending`, `minting`, `active`, `released`, `expired`, `revoked`, `failed` or `lapsed`.
    pub state: String,
    /// When it was asked for.
    #[serde(serialize_with = "crate::time::as_text")]
    pub requested_at: Option<SystemTime>,
    /// When it ends by itself.
    #[serde(serialize_with = "crate::time::as_text")]
    pub expires_at: Option<SystemTime>,
    /// Policies that decided.
    pub policy_ids: Vec<String>,
    /// Hash of the policy set that decided.
    pub policy_hash: String,
    /// Guards that wait for an approval, while it is pending.
    pub guards: Vec<Guard>,
    /// Why it ended; empty while it is live.
    pub end_reason: String,
    /// What the upstream said of the revocation: `pending`, `confirmed`, `unreachable`,
    /// `not_needed`, or nothing.
    pub upstream_revocation: Option<String>,
    /// Times that its credential was replaced.
    pub renewals: u32,
    /// The agent's own words for it: untrusted.
    pub reason: String,
}

/// A rule that a person may lift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Guard {
    /// Id of the policy.
    pub policy_id: String,
    /// Groups of which one must approve.
    pub groups: Vec<String>,
    /// Why the rule exists.
    pub reason: String,
}

/// A grant, and its credential once it is active.
#[non_exhaustive]
pub struct Granted {
    /// The grant.
    pub grant: Grant,
    /// The credential; absent while the grant is pending.
    pub issued: Option<Issued>,
}

/// A credential as it came from the broker.
#[non_exhaustive]
pub struct Issued {
    /// The secret itself.
    pub secret: Secret,
    /// What kind it is.
    pub kind: CredentialKind,
    /// The user name to send beside it where a protocol wants one.
    pub username: String,
    /// When the upstream stops accepting it, if that is known; never before the grant's end.
    pub expires_at: Option<SystemTime>,
}

/// Kind of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CredentialKind {
    /// Installation token of a GitHub App.
    GithubInstallationToken,
    /// JWT signed by the broker (RFC 9068).
    SignedJwt,
    /// A kind that this version does not know.
    Unknown,
}

/// What a credential is good for at this moment; all but `active` is empty when it is not.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Introspection {
    /// Whether it works at this moment.
    pub active: bool,
    /// The grant.
    pub grant: String,
    /// The session.
    pub session: String,
    /// The agent.
    pub agent: String,
    /// The person it acts for, if any.
    pub person: String,
    /// What it opens, in text form.
    pub scope: String,
    /// When it ends.
    #[serde(serialize_with = "crate::time::as_text")]
    pub expires_at: Option<SystemTime>,
    /// Thumbprint of the key that must be proved with it; empty for a bearer credential.
    pub confirmation: String,
}

/// What a revocation cut.
#[derive(Debug, Clone, Copy, Serialize)]
#[non_exhaustive]
pub struct Revoked {
    /// Grants that were live.
    pub revoked: u32,
    /// Of those, how many the upstream has yet to confirm.
    pub upstream_pending: u32,
}
