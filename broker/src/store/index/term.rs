//! What an entry can be found by.

use std::hash::Hasher;

use jeton_domain::{
    audit::{Entry, EntryFilter},
    pattern::Pattern,
};
use siphasher::sip::SipHasher13;

/// Kinds of terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The agent that it is about.
    Agent,
    /// The person that the agent acts for.
    Person,
    /// Whoever did it.
    By,
    /// The session.
    Session,
    /// The grant.
    Grant,
    /// The upstream.
    Upstream,
    /// The resource.
    Resource,
    /// An action of the scope.
    Action,
    /// The event's word.
    Event,
    /// How it went.
    Outcome,
    /// A policy that decided.
    Policy,
}

impl Kind {
    /// Those whose values are few enough to be counted.
    pub const COUNTED: [Self; 9] = [
        Self::Agent,
        Self::Person,
        Self::By,
        Self::Upstream,
        Self::Resource,
        Self::Action,
        Self::Event,
        Self::Outcome,
        Self::Policy,
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Person => "person",
            Self::By => "by",
            Self::Session => "session",
            Self::Grant => "grant",
            Self::Upstream => "upstream",
            Self::Resource => "resource",
            Self::Action => "action",
            Self::Event => "event",
            Self::Outcome => "outcome",
            Self::Policy => "policy",
        }
    }

    /// Whether its values are kept by name.
    pub(super) fn is_named(self) -> bool {
        Self::COUNTED.contains(&self)
    }

    /// As it stands in the file.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Agent => 1,
            Self::Person => 2,
            Self::By => 3,
            Self::Session => 4,
            Self::Grant => 5,
            Self::Upstream => 6,
            Self::Resource => 7,
            Self::Action => 8,
            Self::Event => 9,
            Self::Outcome => 10,
            Self::Policy => 11,
        }
    }
}

/// A kind and a value, hashed with the file's own key. Callers choose values; without the key they
/// can't choose two that meet, which would spoil counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Term(pub i64);

/// The key of a file's terms.
#[derive(Clone, Copy)]
pub struct TermKey(pub [u8; 16]);

impl TermKey {
    /// The term of a value.
    pub fn term(self, kind: Kind, value: &str) -> Term {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(&[kind.number()]);
        hasher.write(value.as_bytes());
        Term(hasher.finish().cast_signed())
    }
}

/// Hands on every term of an entry.
pub fn each_term(entry: &Entry, mut each: impl FnMut(Kind, &str)) {
    let facts = entry.event.facts();
    let named = [(Kind::Agent, facts.agent), (Kind::Person, facts.person), (Kind::By, facts.by)];
    for (kind, name) in named {
        if let Some(name) = name {
            each(kind, name.as_str());
        }
    }
    if let Some(id) = facts.session {
        each(Kind::Session, &id.to_string());
    }
    if let Some(id) = facts.grant {
        each(Kind::Grant, &id.to_string());
    }
    if let Some(scope) = facts.scope {
        each(Kind::Upstream, scope.upstream.as_str());
        each(Kind::Resource, scope.resource.as_str());
        scope.actions.iter().for_each(|action| each(Kind::Action, action.as_str()));
    }
    each(Kind::Event, entry.event.word());
    each(Kind::Outcome, facts.outcome.word());
    facts.policies.iter().for_each(|policy| each(Kind::Policy, policy.as_str()));
}

/// What all candidates have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Each of these.
    pub(super) values: Vec<(Kind, String)>,
    /// A resource of this pattern.
    pub(super) resources: Option<Pattern>,
    /// One of these resources, each at its upstream.
    pub(super) within: Option<Vec<(String, String)>>,
}

impl Query {
    /// What the entries of a filter have, its times apart.
    #[must_use]
    pub fn of(filter: &EntryFilter) -> Self {
        let mut values = Vec::new();
        let mut has = |kind, value: Option<String>| values.extend(value.map(|value| (kind, value)));
        has(Kind::Agent, filter.agent.as_ref().map(ToString::to_string));
        has(Kind::Person, filter.person.as_ref().map(ToString::to_string));
        has(Kind::By, filter.by.as_ref().map(ToString::to_string));
        has(Kind::Session, filter.session.map(|id| id.to_string()));
        has(Kind::Grant, filter.grant.map(|id| id.to_string()));
        has(Kind::Upstream, filter.upstream.as_ref().map(ToString::to_string));
        has(Kind::Action, filter.action.as_ref().map(ToString::to_string));
        has(Kind::Event, filter.event.clone());
        has(Kind::Outcome, filter.outcome.map(|outcome| outcome.word().to_owned()));
        has(Kind::Policy, filter.policy.as_ref().map(ToString::to_string));
        let exact = filter.resource.as_ref().filter(|pattern| !pattern.as_str().contains('*'));
        has(Kind::Resource, exact.map(ToString::to_string));
        let pattern = filter.resource.clone().filter(|_| exact.is_none());
        let Some(own) = &filter.within else {
            return Self { values, resources: pattern, within: None };
        };
        // Why the pattern is done with here: held against the names of the whole log, it would tell how
        // many there are.
        let fits =
            |name: &str| filter.resource.as_ref().is_none_or(|pattern| pattern.matches(name));
        let own = own.iter().filter(|(_, resource)| fits(resource.as_str()));
        let own = own.map(|(upstream, resource)| (upstream.to_string(), resource.to_string()));
        Self { values, resources: None, within: Some(own.collect()) }
    }

    /// Whether every entry is a candidate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.resources.is_none() && self.within.is_none()
    }
}
