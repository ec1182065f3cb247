//! Taking back: what is matched, what stays stopped, and what the upstream said of it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    decision::PolicyId,
    delegation::Chain,
    grant::Grant,
    id::SessionId,
    people::People,
    principal::PrincipalId,
    scope::{Resource, Scope, Upstream},
    session::{Session, Words},
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

/// What is taken back, or stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// One session and all below it.
    Session(SessionId),
    /// The sessions of one agent, those that it opened, and all below them.
    Agent(PrincipalId),
    /// The sessions that act for one person or that it opened.
    Person(PrincipalId),
    /// Grants for one resource.
    Resource(Upstream, Resource),
    /// Grants at one upstream.
    Upstream(Upstream),
    /// Grants that one policy had a part in.
    Policy(PolicyId),
    /// Everything.
    All,
}

/// Whom something is granted to: what a [`Matching`] looks at.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// The session; `None` before there is one.
    pub session: Option<SessionId>,
    /// Its agent.
    pub agent: &'a PrincipalId,
    /// Its person.
    pub person: Option<&'a PrincipalId>,
    /// Whoever opened the session; `None` where only the grant is known.
    pub opener: Option<&'a PrincipalId>,
    /// The sessions above it.
    pub chain: &'a Chain,
}

impl<'a> Holder<'a> {
    /// Whom a session's grants go to.
    #[must_use]
    pub fn of(session: &'a Session) -> Self {
        let Session { id, agent, person, opener, chain, .. } = session;
        Self { session: Some(*id), agent, person: person.as_ref(), opener: Some(opener), chain }
    }
}

impl Matching {
    /// Tells whether whole sessions are meant, and not just some of their grants.
    #[must_use]
    pub fn means_sessions(&self) -> bool {
        match self {
            Self::Session(_) | Self::Agent(_) | Self::Person(_) | Self::All => true,
            Self::Resource(..) | Self::Upstream(_) | Self::Policy(_) => false,
        }
    }

    /// Tells whether a session as a whole is meant: of a person under any of its names.
    #[must_use]
    pub fn means_holder(&self, of: Holder<'_>, people: &People) -> bool {
        match self {
            Self::Session(session) => of.session == Some(*session) || of.chain.holds(*session),
            Self::Agent(agent) => {
                of.agent == agent || of.opener == Some(agent) || of.chain.holds_agent(agent)
            }
            Self::Person(person) => {
                let is = |name: &PrincipalId| people.are_one(name, person);
                of.person.is_some_and(is) || of.opener.is_some_and(is)
            }
            Self::All => true,
            Self::Resource(..) | Self::Upstream(_) | Self::Policy(_) => false,
        }
    }

    /// Tells whether two mean the same: a person under any of its names.
    #[must_use]
    pub fn is_same(&self, other: &Self, people: &People) -> bool {
        match (self, other) {
            (Self::Person(one), Self::Person(other)) => people.are_one(one, other),
            (one, other) => one == other,
        }
    }

    /// Tells whether a scope is meant, whoever holds it.
    #[must_use]
    pub fn means_scope(&self, scope: &Scope) -> bool {
        match self {
            Self::Resource(upstream, resource) => {
                scope.upstream == *upstream && scope.resource == *resource
            }
            Self::Upstream(upstream) => scope.upstream == *upstream,
            Self::All => true,
            Self::Session(_) | Self::Agent(_) | Self::Person(_) | Self::Policy(_) => false,
        }
    }

    /// Tells whether a grant is meant.
    #[must_use]
    pub fn means(&self, grant: &Grant, people: &People) -> bool {
        let Grant { session, agent, person, chain, scope, decided_by, .. } = grant;
        let (session, person) = (Some(*session), person.as_ref());
        let holder = Holder { session, agent, person, opener: None, chain };
        match self {
            Self::Policy(id) => decided_by.policies.contains(id),
            Self::Session(_)
            | Self::Agent(_)
            | Self::Person(_)
            | Self::Resource(..)
            | Self::Upstream(_)
            | Self::All => self.means_holder(holder, people) || self.means_scope(scope),
        }
    }
}

impl fmt::Display for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => write!(f, "session {id}"),
            Self::Agent(name) => write!(f, "agent {name}"),
            Self::Person(name) => write!(f, "person {name}"),
            Self::Resource(upstream, resource) => write!(f, "resource {upstream}:{resource}"),
            Self::Upstream(upstream) => write!(f, "upstream {upstream}"),
            Self::Policy(id) => write!(f, "policy {id}"),
            Self::All => f.write_str("everything"),
        }
    }
}

/// A standing order: nothing that matches is granted until somebody lifts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// What.
    pub matching: Matching,
    /// By whom.
    pub by: PrincipalId,
    /// Why.
    pub reason: Words,
    /// Since when.
    pub since: Timestamp,
}

impl Stop {
    /// What whoever asks is told.
    #[must_use]
    pub fn refusal(&self) -> String {
        let Self { matching, reason, .. } = self;
        let why = if reason.as_str().is_empty() { "" } else { ": " };
        format!(
            "granting is stopped for {matching}{why}{}; an operator can lift that",
            reason.as_str()
        )
    }
}

/// All stops that hold, and the people whose names they may be about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stops {
    stops: Vec<Stop>,
    people: Arc<People>,
}

impl Stops {
    /// Collects stops.
    #[must_use]
    pub fn new(stops: Vec<Stop>) -> Self {
        Self { stops, people: Arc::default() }
    }

    /// The same, about people under all of their names.
    #[must_use]
    pub fn about(&self, people: Arc<People>) -> Self {
        Self { stops: self.stops.clone(), people }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stops.is_empty()
    }

    /// Whose names are known.
    #[must_use]
    pub fn people(&self) -> &People {
        &self.people
    }

    /// In the order in which they were ordered.
    pub fn iter(&self) -> impl Iterator<Item = &Stop> {
        self.stops.iter()
    }

    /// The stop that keeps a session from being granted anything, or just this scope.
    #[must_use]
    pub fn against(&self, holder: Holder<'_>, scope: Option<&Scope>) -> Option<&Stop> {
        let means = |stop: &&Stop| {
            stop.matching.means_holder(holder, &self.people)
                || scope.is_some_and(|scope| stop.matching.means_scope(scope))
        };
        self.stops.iter().find(means)
    }

    /// Tells whether somebody's own word counts no more: a stop means it, or everybody.
    #[must_use]
    pub fn silence(&self, who: &PrincipalId) -> bool {
        self.stops.iter().any(|stop| match &stop.matching {
            Matching::Agent(name) | Matching::Person(name) => self.people.are_one(name, who),
            Matching::All => true,
            Matching::Session(_)
            | Matching::Resource(..)
            | Matching::Upstream(_)
            | Matching::Policy(_) => false,
        })
    }

    /// The same with one more. The same matching again changes nothing.
    #[must_use]
    pub fn with(&self, stop: Stop) -> Self {
        let mut stops = self.stops.clone();
        if !stops.iter().any(|known| known.matching == stop.matching) {
            stops.push(stop);
        }
        Self { stops, people: Arc::clone(&self.people) }
    }

    /// The same without one; `None` if there is none such.
    #[must_use]
    pub fn without(&self, matching: &Matching) -> Option<Self> {
        let left: Vec<_> = self.iter().filter(|stop| stop.matching != *matching).cloned().collect();
        let people = Arc::clone(&self.people);
        (left.len() < self.stops.len()).then_some(Self { stops: left, people })
    }
}
