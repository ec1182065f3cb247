//! Whom an entry is about.

use serde::{Deserialize, Serialize};

use crate::{
    decision::Delivery,
    delegation::Chain,
    grant::{DecidedBy, Grant},
    id::{GrantId, RequestId, SessionId},
    principal::PrincipalId,
    scope::Scope,
};

/// Who asked for what: the fields that every entry about a grant's life begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The grant.
    pub grant: GrantId,
    /// Its session.
    pub session: SessionId,
    /// The session's agent.
    pub agent: PrincipalId,
    /// The session's person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PrincipalId>,
    /// The sessions above it.
    #[serde(default, skip_serializing_if = "Chain::is_empty")]
    pub chain: Chain,
    /// What it opens.
    pub scope: Scope,
    /// Where its credential goes; left out where the agent gets it.
    #[serde(default, skip_serializing_if = "Delivery::is_direct")]
    pub delivery: Delivery,
    /// The caller's key for a safe retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// What decided.
    pub decided_by: DecidedBy,
}

/// Which grant an entry is about, and whose it is: what is needed to read the entry alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The grant.
    pub grant: GrantId,
    /// Its session.
    pub session: SessionId,
    /// The session's agent.
    pub agent: PrincipalId,
    /// The session's person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PrincipalId>,
    /// The sessions above it.
    #[serde(default, skip_serializing_if = "Chain::is_empty")]
    pub chain: Chain,
    /// What it opens.
    pub scope: Scope,
}

impl Subject {
    /// That of a grant.
    #[must_use]
    pub fn of(grant: &Grant) -> Self {
        Self {
            grant: grant.id,
            session: grant.session,
            agent: grant.agent.clone(),
            person: grant.person.clone(),
            chain: grant.chain.clone(),
            scope: grant.scope.clone(),
        }
    }
}
