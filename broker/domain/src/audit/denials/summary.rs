//! What is kept of denials that have no entry of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::{DenialCount, DenialKind};
use crate::{
    accountable::AccountableSubject,
    audit::Event,
    grant::DecidedBy,
    limits::{SUMMARY_REASON_CHARS, SUMMARY_REASONS, SUMMARY_RESOURCES},
    principal::PrincipalId,
    scope::Scope,
    secret::sha256,
    session::Words,
    ttl::Timestamp,
};

/// Where the reasons are counted that are beyond [`SUMMARY_REASONS`].
const OTHER: &str = "other";

/// The counts of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    subject: Option<AccountableSubject>,
    first: Timestamp,
    last: Timestamp,
    counts: BTreeMap<(DenialKind, Box<str>), u64>,
    /// The starts of the hashes of the resources. Why hashes: names are long and chosen by callers.
    resources: BTreeSet<[u8; 8]>,
    more_resources: bool,
    agent: Agent,
}

/// Who was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Agent {
    Unknown,
    One(PrincipalId),
    Several,
}

impl Agent {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, agent) | (agent, Self::Unknown) => agent,
            (Self::One(one), Self::One(other)) if one == other => Self::One(one),
            (Self::One(_) | Self::Several, Self::One(_) | Self::Several) => Self::Several,
        }
    }
}

impl Summary {
    pub(super) fn new(subject: Option<AccountableSubject>, now: Timestamp) -> Self {
        Self {
            subject,
            first: now,
            last: now,
            counts: BTreeMap::new(),
            resources: BTreeSet::new(),
            more_resources: false,
            agent: Agent::Unknown,
        }
    }

    /// Whose denials it counts; `None` for those of subjects that are not counted apart.
    #[must_use]
    pub fn subject(&self) -> Option<&AccountableSubject> {
        self.subject.as_ref()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(super) fn count(&mut self, kind: DenialKind, event: &Event, now: Timestamp) {
        let facts = event.facts();
        self.add(kind, &reason(event), times(event));
        if let Some(scope) = facts.scope {
            self.add_resource(resource(scope));
        }
        let agent = facts.agent.cloned().map_or(Agent::Unknown, Agent::One);
        self.name(agent);
        self.last = self.last.max(now);
    }

    /// Joins the counts of another summary.
    pub(super) fn merge(&mut self, other: Self) {
        for ((kind, reason), count) in other.counts {
            self.add(kind, &reason, count);
        }
        other.resources.into_iter().for_each(|resource| self.add_resource(resource));
        self.more_resources |= other.more_resources;
        self.name(other.agent);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    fn add(&mut self, kind: DenialKind, reason: &str, times: u64) {
        let known = self.counts.contains_key(&(kind, reason.into()));
        let reason = if known || self.counts.len() < SUMMARY_REASONS { reason } else { OTHER };
        let count = self.counts.entry((kind, reason.into())).or_default();
        *count = count.saturating_add(times);
    }

    fn add_resource(&mut self, resource: [u8; 8]) {
        match self.resources.len() < SUMMARY_RESOURCES || self.resources.contains(&resource) {
            true => drop(self.resources.insert(resource)),
            false => self.more_resources = true,
        }
    }

    fn name(&mut self, agent: Agent) {
        let known = std::mem::replace(&mut self.agent, Agent::Several);
        self.agent = known.and(agent);
    }

    /// The entry's event.
    #[must_use]
    pub fn event(&self) -> Event {
        let counts = self.counts.iter().map(|((event, reason), count)| DenialCount {
            event: *event,
            reason: Words::new(reason),
            count: *count,
        });
        let agent = match &self.agent {
            Agent::One(agent) => Some(agent.clone()),
            Agent::Unknown | Agent::Several => None,
        };
        Event::DenialsSummarized {
            subject: self.subject.clone(),
            agent,
            first: self.first,
            last: self.last,
            counts: counts.collect(),
            resources: u64::try_from(self.resources.len()).unwrap_or(u64::MAX),
            more_resources: self.more_resources,
        }
    }
}

/// How many denials one event stands for.
fn times(event: &Event) -> u64 {
    if let Event::SignInFailed { count, .. } = event { *count } else { 1 }
}

/// What denials are counted by: free of what the caller chose, so that there are few.
fn reason(event: &Event) -> String {
    let cut = |text: &str| text.chars().take(SUMMARY_REASON_CHARS).collect();
    if let Event::Denied { layer, decided_by, .. } = event {
        return cut(&by(layer.word(), decided_by));
    }
    if let Event::SessionRefused { decided_by, .. } = event {
        return cut(&by("session", decided_by));
    }
    if let Event::SignInFailed { reason, .. } = event {
        return cut(reason.as_str());
    }
    OTHER.to_owned()
}

fn by(layer: &str, decided_by: &DecidedBy) -> String {
    let ids: Vec<_> = decided_by.policies.iter().map(|id| id.as_str()).collect();
    if ids.is_empty() { layer.to_owned() } else { format!("{layer}: {}", ids.join(", ")) }
}

fn resource(scope: &Scope) -> [u8; 8] {
    let hash = sha256(format!("{}:{}", scope.upstream, scope.resource).as_bytes());
    hash.first_chunk().copied().unwrap_or_default()
}
