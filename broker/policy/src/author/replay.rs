//! What was asked before, decided again with other policies: each answer that would be another.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jeton_domain::{
    audit::{About, DenialKind, Entry, Event},
    decision::{Delivery, Layer, PolicyId},
    delegation::Chain,
    id::GrantId,
    principal::PrincipalId,
    scope::Scope,
    ttl::{Timestamp, Ttl},
};

use super::ask::{Answer, Ask, AskError, ask};
use crate::PolicySet;

/// A request that the log tells of, and what was answered.
#[derive(Debug, Clone)]
pub struct Recorded {
    ask: Ask,
    was: &'static str,
    granted: bool,
    policies: Vec<PolicyId>,
}

impl Recorded {
    /// What was asked. A request that waited, and that nobody approved, has no time.
    #[must_use]
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// Whether a credential came of it, or was about to.
    #[must_use]
    pub fn was_granted(&self) -> bool {
        self.granted
    }

    /// The policies that decided.
    #[must_use]
    pub fn policies(&self) -> &[PolicyId] {
        &self.policies
    }
}

/// Reads requests from the entries of a log.
#[derive(Default)]
pub struct Requests {
    seen: HashSet<GrantId>,
    summarized: u64,
}

impl Requests {
    /// The request that an entry tells of, if it tells of one that was not told before. Those that an
    /// envelope, a session or a stop refused are none for the policies.
    pub fn of(&mut self, entry: &Entry) -> Option<Recorded> {
        let at = entry.at;
        if let Event::DenialsSummarized { counts, .. } = &entry.event {
            let denied = counts.iter().filter(|one| one.event == DenialKind::Denied);
            let denied = denied.map(|one| one.count).fold(0, u64::saturating_add);
            self.summarized = self.summarized.saturating_add(denied);
            return None;
        }
        if let Event::Pending { about, .. } = &entry.event {
            return self.about(about, None, ("needs approval", false), at);
        }
        if let Event::Intent { about, ttl } = &entry.event {
            return self.about(about, Some(*ttl), (granted(about), true), at);
        }
        if let Event::Issued { about, until, .. } = &entry.event {
            let millis = until.millis().saturating_sub(at.millis());
            let seconds = u32::try_from(millis.div_euclid(1000)).unwrap_or(u32::MAX).max(1);
            return self.about(about, Ttl::from_seconds(seconds), (granted(about), true), at);
        }
        let Event::Denied { agent, person, chain, scope, delivery, layer, decided_by, .. } =
            &entry.event
        else {
            return None;
        };
        // Why by the policies: a key that never leaves the broker is denied by none of them.
        let by_policies = match layer {
            Layer::Policy => true,
            Layer::Delivery => !decided_by.policies.is_empty(),
            Layer::Session | Layer::Stop | Layer::Envelope | Layer::Budget => false,
        };
        if !by_policies {
            return None;
        }
        let ask =
            Ask { delivery: *delivery, ..asked(agent, person.as_ref(), chain, scope, None, at) };
        let policies = decided_by.policies.clone();
        Some(Recorded { ask, was: "deny", granted: false, policies })
    }

    /// Denials that the log only counts: what was requested is not known, so they are not replayed.
    #[must_use]
    pub fn summarized(&self) -> u64 {
        self.summarized
    }

    fn about(
        &mut self,
        about: &About,
        ttl: Option<Ttl>,
        (was, granted): (&'static str, bool),
        at: Timestamp,
    ) -> Option<Recorded> {
        let About { grant, agent, person, chain, scope, .. } = about;
        let ask = Ask {
            delivery: about.delivery,
            ..asked(agent, person.as_ref(), chain, scope, ttl, at)
        };
        let policies = about.decided_by.policies.clone();
        self.seen.insert(*grant).then_some(Recorded { ask, was, granted, policies })
    }
}

fn granted(about: &About) -> &'static str {
    if about.decided_by.approvals.is_empty() { "allow" } else { "needs approval" }
}

fn asked(
    agent: &PrincipalId,
    person: Option<&PrincipalId>,
    chain: &Chain,
    scope: &Scope,
    ttl: Option<Ttl>,
    at: Timestamp,
) -> Ask {
    Ask {
        agent: agent.clone(),
        person: person.cloned(),
        delegators: chain.links().iter().map(|link| link.agent.clone()).collect(),
        scope: scope.clone(),
        ttl,
        delivery: Delivery::Direct,
        approvals: BTreeSet::new(),
        at,
    }
}

/// An answer that would be another, and how often.
pub struct Flip {
    /// Who asked.
    pub agent: PrincipalId,
    /// For what.
    pub scope: String,
    /// What was answered.
    pub was: &'static str,
    /// What would be.
    pub now: &'static str,
    /// Why, or by which policies.
    pub why: String,
    /// How many such requests there were.
    pub count: u64,
    /// When the last of them was.
    pub last: Timestamp,
}

/// What came of a replay.
#[derive(Default)]
pub struct Replay {
    flips: BTreeMap<(PrincipalId, String, &'static str, &'static str), Flip>,
    /// Requests that were decided again.
    pub requests: u64,
}

impl Replay {
    /// Decides one request again.
    ///
    /// # Errors
    /// When no session could ask it.
    pub fn again(&mut self, set: &PolicySet, recorded: &Recorded) -> Result<(), AskError> {
        self.requests = self.requests.saturating_add(1);
        let Recorded { ask: question, was, .. } = recorded;
        let answer = ask(set, question)?;
        let now = answer.word();
        if now == *was {
            return Ok(());
        }
        let (agent, scope) = (question.agent.clone(), question.scope.to_string());
        let flip = self.flips.entry((agent.clone(), scope.clone(), *was, now)).or_insert(Flip {
            agent,
            scope,
            was,
            now,
            why: why(&answer),
            count: 0,
            last: question.at,
        });
        flip.count = flip.count.saturating_add(1);
        flip.last = flip.last.max(question.at);
        Ok(())
    }

    /// The answers that would be others.
    pub fn flips(&self) -> impl Iterator<Item = &Flip> {
        self.flips.values()
    }
}

fn why(answer: &Answer) -> String {
    match answer {
        Answer::Deny { reason, .. } => reason.clone(),
        Answer::Allow { policies, .. } | Answer::NeedsApproval { policies, .. } => {
            let ids: Vec<_> = policies.iter().map(|id| id.as_str()).collect();
            ids.join(", ")
        }
    }
}
