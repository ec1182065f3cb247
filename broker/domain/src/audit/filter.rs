//! Which entries somebody wants to see.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Entry, Outcome};
use crate::{
    decision::PolicyId,
    id::{GrantId, SessionId},
    pattern::Pattern,
    principal::PrincipalId,
    scope::{Action, Resource, Scope, Upstream},
    ttl::Timestamp,
};

/// Resources, each at its upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources(pub BTreeMap<Upstream, BTreeSet<Resource>>);

impl Resources {
    /// Tells whether what is to be opened is one of them.
    #[must_use]
    pub fn hold(&self, scope: &Scope) -> bool {
        self.0.get(&scope.upstream).is_some_and(|own| own.contains(&scope.resource))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Upstream, &Resource)> {
        self.0.iter().flat_map(|(upstream, own)| own.iter().map(move |one| (upstream, one)))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }
}

/// What must fit. What is absent fits everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// The agent.
    pub agent: Option<PrincipalId>,
    /// The person.
    pub person: Option<PrincipalId>,
    /// Whoever did it.
    pub by: Option<PrincipalId>,
    /// The session.
    pub session: Option<SessionId>,
    /// The grant.
    pub grant: Option<GrantId>,
    /// The upstream.
    pub upstream: Option<Upstream>,
    /// The resource, or a pattern of resources.
    pub resource: Option<Pattern>,
    /// One of the actions.
    pub action: Option<Action>,
    /// The event's word.
    pub event: Option<String>,
    /// How it went.
    pub outcome: Option<Outcome>,
    /// One of the policies.
    pub policy: Option<PolicyId>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// One of these resources: the part of the log that whoever asks may see.
    pub within: Option<Arc<Resources>>,
}

impl EntryFilter {
    /// The filter in one line, as whoever asked could write it: `agent=ci event=revoked`.
    #[must_use]
    pub fn words(&self) -> String {
        fn say(name: &str, value: Option<impl ToString>) -> Option<String> {
            value.map(|value| format!("{name}={}", value.to_string()))
        }
        let parts = [
            say("agent", self.agent.as_ref()),
            say("person", self.person.as_ref()),
            say("by", self.by.as_ref()),
            say("session", self.session),
            say("grant", self.grant),
            say("upstream", self.upstream.as_ref()),
            say("resource", self.resource.as_ref()),
            say("action", self.action.as_ref()),
            say("event", self.event.as_ref()),
            say("outcome", self.outcome.map(Outcome::word)),
            say("policy", self.policy.as_ref()),
            say("from", self.from.map(Timestamp::millis)),
            say("until", self.until.map(Timestamp::millis)),
            say("within", self.within.as_ref().map(|own| format!("{}-owned", own.count()))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Tells whether an entry fits.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        let facts = entry.event.facts();
        let scope = facts.scope;
        fits(self.agent.as_ref(), |agent| facts.agent == Some(agent))
            && fits(self.person.as_ref(), |person| facts.person == Some(person))
            && fits(self.by.as_ref(), |by| facts.by == Some(by))
            && fits(self.session, |session| facts.session == Some(session))
            && fits(self.grant, |grant| facts.grant == Some(grant))
            && fits(self.upstream.as_ref(), |upstream| {
                scope.is_some_and(|scope| scope.upstream == *upstream)
            })
            && fits(self.resource.as_ref(), |pattern| {
                scope.is_some_and(|scope| pattern.matches(scope.resource.as_str()))
            })
            && fits(self.action.as_ref(), |action| {
                scope.is_some_and(|scope| scope.actions.iter().any(|own| own == action))
            })
            && fits(self.event.as_ref(), |event| entry.event.word() == event)
            && fits(self.outcome, |outcome| facts.outcome == outcome)
            && fits(self.policy.as_ref(), |policy| facts.policies.contains(policy))
            && fits(self.from, |from| entry.at >= from)
            && fits(self.until, |until| entry.at < until)
            && fits(self.within.as_ref(), |own| scope.is_some_and(|scope| own.hold(scope)))
    }
}

fn fits<T>(wanted: Option<T>, is: impl FnOnce(T) -> bool) -> bool {
    wanted.is_none_or(is)
}
