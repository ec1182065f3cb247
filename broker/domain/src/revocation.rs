//! Taking back: what is matched, and what the upstream said of it.

use serde::{Deserialize, Serialize};

use crate::{
    grant::Grant,
    id::SessionId,
    principal::PrincipalId,
    scope::{Resource, Upstream},
    ttl::Timestamp,
};

/// What became of a credential at the upstream after its grant ended. Never a silent nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "upstream", rename_all = "snake_case", deny_unknown_fields)]
pub enum UpstreamRevocation {
    /// The broker itself answers for the credential: its next introspection is refused.
    NotNeeded,
    /// Queued, tried again until it is confirmed or dead by itself.
    Pending {
        /// When the credential dies by itself at the latest.
        until: Timestamp,
    },
    /// The upstream no longer accepts it.
    Confirmed {
        /// When that was seen.
        at: Timestamp,
    },
    /// The upstream can't be told, because the credential's bytes died with a process.
    Unreachable {
        /// When the credential dies by itself at the latest.
        until: Timestamp,
    },
}

impl UpstreamRevocation {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NotNeeded => "not needed",
            Self::Pending { .. } => "pending",
            Self::Confirmed { .. } => "confirmed",
            Self::Unreachable { .. } => "unreachable",
        }
    }
}

/// Which live grants are taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// Of one session.
    Session(SessionId),
    /// Of one agent.
    Agent(PrincipalId),
    /// Of sessions that act for one person.
    Person(PrincipalId),
    /// For one resource.
    Resource(Upstream, Resource),
    /// At one upstream.
    Upstream(Upstream),
    /// All of them.
    All,
}

impl Matching {
    /// Tells whether a grant is meant.
    #[must_use]
    pub fn means(&self, grant: &Grant) -> bool {
        match self {
            Self::Session(session) => grant.session == *session,
            Self::Agent(agent) => grant.agent == *agent,
            Self::Person(person) => grant.person.as_ref() == Some(person),
            Self::Resource(upstream, resource) => {
                grant.scope.upstream == *upstream && grant.scope.resource == *resource
            }
            Self::Upstream(upstream) => grant.scope.upstream == *upstream,
            Self::All => true,
        }
    }
}
