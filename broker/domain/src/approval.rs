//! Guards, and the approvals that lift them: for one canonical request, or for more like it in its
//! session.
//!
//! An approval is bound to a hash of all that was asked. Any change makes another request of it,
//! and so does another policy set: what was approved is what is granted, or nothing is.

mod glass;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    decision::{Delivery, PolicyId},
    delegation::Chain,
    grant::Grant,
    id::{GrantId, SessionId},
    people::{Account, People},
    principal::PrincipalId,
    review::{Power, is_reviewer},
    scope::{Scope, ScopeBound},
    secret::{hex, sha256},
    session::{Session, Words},
    ttl::{Timestamp, Ttl},
};

pub use self::glass::{Glass, GlassName, Unreviewed};

/// Name of a group of people whose approval lifts guards.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupName(String);

impl GroupName {
    /// Takes a name as the policy wrote it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A policy that refuses unless one of its groups approved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// The policy.
    pub policy: PolicyId,
    /// The groups that can lift it.
    pub groups: Vec<GroupName>,
    /// Why it exists, by its `@reason`.
    pub reason: Words,
}

/// SHA-256 over all that was asked, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestHash(String);

impl RequestHash {
    /// Takes what a caller sent. Only one that equals the right one is worth anything.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What people are asked, in the one form that is hashed. The agent's words are no part of it: they
/// may be anything, and nothing follows from them.
#[derive(Serialize)]
struct Canonical<'a> {
    v: u8,
    grant: GrantId,
    session: SessionId,
    agent: &'a PrincipalId,
    person: Option<&'a PrincipalId>,
    chain: &'a Chain,
    scope: &'a Scope,
    ttl: Ttl,
    delivery: Delivery,
    kind: &'a str,
    guards: Vec<&'a PolicyId>,
    policy_hash: &'a str,
}

/// The hash of a pending grant's request. `kind` is the kind of credential that it would get.
#[must_use]
pub fn request_hash(grant: &Grant, guards: &[Guard], kind: &str) -> RequestHash {
    let canonical = Canonical {
        v: 1,
        grant: grant.id,
        session: grant.session,
        agent: &grant.agent,
        person: grant.person.as_ref(),
        chain: &grant.chain,
        scope: &grant.scope,
        ttl: grant.ttl,
        delivery: grant.delivery,
        kind,
        guards: guards.iter().map(|guard| &guard.policy).collect(),
        policy_hash: &grant.decided_by.policy_hash,
    };
    // Why no error: every part is a name, a number or a list of them. An empty text hashes to what no
    // request does.
    let text = serde_json::to_string(&canonical).unwrap_or_default();
    RequestHash(hex(&sha256(text.as_bytes())))
}

/// What approvers of a group have to keep to, by the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How many different people are needed.
    pub quorum: u32,
    /// Whether each has to say why.
    pub reason: bool,
    /// The most that one approval may reach for a session; `None` where each request is asked.
    pub session: Option<SessionTerms>,
}

/// How far an approval for a session may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTerms {
    /// Grants.
    pub grants: u32,
    /// Time.
    pub ttl: Ttl,
}

impl Default for Terms {
    fn default() -> Self {
        Self { quorum: 1, reason: false, session: None }
    }
}

/// What an approval reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "breadth", rename_all = "snake_case", deny_unknown_fields)]
pub enum Breadth {
    /// The one request.
    Once,
    /// Requests of the session that lie within this.
    Session {
        /// Scopes.
        within: ScopeBound,
        /// How many grants, the asked one counted.
        grants: u32,
        /// The longest life of each.
        ttl: Ttl,
        /// Until when.
        until: Timestamp,
    },
    /// As [`Self::Session`], in an emergency: one named person alone lifts what else takes others, and
    /// must be reviewed for it.
    Emergency {
        /// What the person is named for.
        glass: GlassName,
        /// Scopes.
        within: ScopeBound,
        /// How many grants, the asked one counted.
        grants: u32,
        /// Until when; no grant lives longer.
        until: Timestamp,
    },
}

impl Breadth {
    /// When grants that rest on it end at the latest, whatever they were given.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Emergency { until, .. } => Some(*until),
            Self::Once | Self::Session { .. } => None,
        }
    }

    /// How many grants it is good for.
    #[must_use]
    pub fn grants(&self) -> u32 {
        match self {
            Self::Once => 1,
            Self::Session { grants, .. } | Self::Emergency { grants, .. } => *grants,
        }
    }
}

/// One person's yes, or a reviewer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Index of the entry that records it.
    pub entry: u64,
    /// The pending grant that it answers.
    pub grant: GrantId,
    /// Its session.
    pub session: SessionId,
    /// Who.
    pub by: PrincipalId,
    /// The account that the token of the approver is about, if it came with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// For which groups.
    pub groups: BTreeSet<GroupName>,
    /// Which guards it lifts.
    pub guards: BTreeSet<PolicyId>,
    /// The hash of what was asked.
    pub request_hash: RequestHash,
    /// The policies that it holds under.
    pub policy_hash: String,
    /// Where the credential was to go; left out where the agent was to get it.
    #[serde(default, skip_serializing_if = "Delivery::is_direct")]
    pub delivery: Delivery,
    /// How far it reaches.
    pub breadth: Breadth,
    /// Why.
    pub reason: Words,
    /// When.
    pub at: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
}

/// A request that wants approvals.
#[derive(Debug, Clone, Copy)]
pub struct Wanting<'a> {
    /// Its session.
    pub session: SessionId,
    /// The pending grant and the hash of its request; `None` for a request that was not asked about.
    pub asked: Option<(GrantId, &'a RequestHash)>,
    /// What it wants.
    pub scope: &'a Scope,
    /// Where the credential would go.
    pub delivery: Delivery,
    /// For how long.
    pub ttl: Ttl,
    /// The policies that hold now.
    pub policy_hash: &'a str,
    /// Now.
    pub now: Timestamp,
}

impl Approval {
    /// Whether one person gave this approval and another, by name or by account.
    fn is_of_giver_of(&self, other: &Self, people: &People) -> bool {
        people.are_one(&self.by, &other.by)
            || (self.account.is_some() && self.account == other.account)
    }

    /// Tells whether it counts for a request.
    #[must_use]
    pub fn counts_for(&self, wanting: Wanting<'_>) -> bool {
        let Wanting { session, asked, scope, delivery, ttl, policy_hash, now } = wanting;
        if self.session != session || self.policy_hash != policy_hash || self.until <= now {
            return false;
        }
        if asked == Some((self.grant, &self.request_hash)) {
            return true;
        }
        // Why: a yes to what only the gateway would hold is none to what the agent would.
        if delivery == Delivery::Direct && self.delivery == Delivery::Gateway {
            return false;
        }
        match &self.breadth {
            Breadth::Once => false,
            Breadth::Session { within, ttl: longest, .. } => {
                within.allows(scope) && ttl <= *longest
            }
            Breadth::Emergency { within, .. } => within.allows(scope),
        }
    }
}

/// What approvals lift.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lifted {
    /// Groups whose quorum is there.
    pub groups: BTreeSet<GroupName>,
    /// Entries of the approvals that made it.
    pub by: Vec<u64>,
}

/// What lifts the guards of a group.
#[derive(Debug, Clone, Copy)]
pub struct Lifters<'a> {
    /// So many different people.
    pub quorum: u32,
    /// Or this reviewer alone, within its bounds.
    pub reviewer: Option<Power<'a>>,
}

/// Sees whether approvals that count for a request lift all of these guards: for each, one of its groups
/// has as many different people as it needs, or its reviewer within its bounds, and each of them approved
/// just this guard. `None` if one stays.
pub fn lift<'a, 'b>(
    guards: &[Guard],
    approvals: impl Iterator<Item = &'a Approval> + Clone,
    lifters: impl Fn(&GroupName) -> Option<Lifters<'b>>,
    wanting: &Wanting<'_>,
    people: &People,
) -> Option<Lifted> {
    let mut lifted = Lifted::default();
    for guard in guards {
        let of = |group: &GroupName| {
            let Lifters { quorum, reviewer } = lifters(group)?;
            let named = approvals.clone().filter(|approval| {
                approval.guards.contains(&guard.policy) && approval.groups.contains(group)
            });
            let (alone, together): (Vec<_>, Vec<_>) =
                named.partition(|one| matches!(one.breadth, Breadth::Emergency { .. }));
            // Why the first of a person: two approvals of one are still one person's, whatever name
            // or account each of them was given under.
            let mut counted: Vec<&Approval> = Vec::new();
            for one in together.iter().filter(|one| !is_reviewer(&one.by)) {
                if !counted.iter().any(|other| one.is_of_giver_of(other, people)) {
                    counted.push(one);
                }
            }
            let mut by: Vec<u64> = counted.iter().map(|one| one.entry).collect();
            let wanted = usize::try_from(quorum.max(1)).unwrap_or(usize::MAX);
            by.truncate(wanted);
            if by.len() == wanted {
                return Some((group.clone(), by));
            }
            let reviewed =
                reviewer.filter(|reviewer| reviewer.reaches(wanting)).and_then(|reviewer| {
                    together.iter().find(|one| one.by == *reviewer.name.principal())
                });
            // Why last: what people or a reviewer approved needs no emergency.
            let one = reviewed.or(alone.first())?;
            Some((group.clone(), vec![one.entry]))
        };
        let (group, by) = guard.groups.iter().find_map(of)?;
        lifted.groups.insert(group);
        lifted.by.extend(by);
    }
    lifted.by.sort_unstable();
    lifted.by.dedup();
    Some(lifted)
}

/// Why somebody may not decide a request, however well chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Involved {
    /// The agent.
    #[error("you are the agent that asks")]
    Agent,
    /// The person.
    #[error("the agent acts for you")]
    Person,
    /// Whoever opened the session, or one above it.
    #[error("you opened the session, or one above it")]
    Opener,
    /// Whoever passed on what it has.
    #[error("you passed on what the session has")]
    Delegate,
}

/// Tells how somebody is involved in a session: nobody approves their own.
#[must_use]
pub fn involved<'a>(
    who: &PrincipalId,
    session: &Session,
    mut openers: impl Iterator<Item = &'a PrincipalId>,
    people: &People,
) -> Option<Involved> {
    let is = |name: &PrincipalId| people.are_one(name, who);
    if is(&session.agent) {
        Some(Involved::Agent)
    } else if session.person.as_ref().is_some_and(is) {
        Some(Involved::Person)
    } else if is(&session.opener) || openers.any(is) {
        Some(Involved::Opener)
    } else if session.chain.links().iter().any(|link| is(&link.agent)) {
        Some(Involved::Delegate)
    } else {
        None
    }
}
