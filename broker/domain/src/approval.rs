//! Guards, and the approvals that lift them: for one canonical request, or for more like it in its
//! session.
//!
//! An approval is bound to a hash of all that was asked. Any change makes another request of it,
//! and so does another policy set: what was approved is what is granted, or nothing is.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    decision::{Delivery, PolicyId},
    delegation::Chain,
    grant::Grant,
    id::{GrantId, SessionId},
    principal::PrincipalId,
    review::{Power, is_reviewer},
    scope::{Scope, ScopeBound},
    secret::{hex, sha256},
    session::{Session, Words},
    ttl::{Timestamp, Ttl},
};

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
pub fn request_hash(
    grant: &Grant,
    guards: &[Guard],
    delivery: Delivery,
    kind: &str,
) -> RequestHash {
    let canonical = Canonical {
        v: 1,
        grant: grant.id,
        session: grant.session,
        agent: &grant.agent,
        person: grant.person.as_ref(),
        chain: &grant.chain,
        scope: &grant.scope,
        ttl: grant.ttl,
        delivery,
        kind,
        guards: guards.iter().map(|guard| &guard.policy).collect(),
        policy_hash: &grant.decided_by.policy_hash,
    };
    // Why no error: every part is a name, a number or a list of them. An empty text hashes to what no
    // request does.
    let text = serde_json::to_string(&canonical).unwrap_or_default();
    RequestHash(hex(&sha256(text.as_bytes())))
}

/// Name of what people may do in an emergency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GlassName(String);

impl GlassName {
    /// Takes a name as the catalogue wrote it.
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

/// What named people may do alone in an emergency, by the catalogue. It lifts guards and nothing else:
/// what no approval opens, no emergency opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glass {
    /// Its name.
    pub name: GlassName,
    /// Who.
    pub members: BTreeSet<PrincipalId>,
    /// Whose guards they lift.
    pub lifts: BTreeSet<GroupName>,
    /// For which scopes.
    pub within: Vec<ScopeBound>,
    /// For how long at most.
    pub ttl: Ttl,
    /// For how many grants.
    pub grants: u32,
    /// Who reviews each use afterwards.
    pub reviewed_by: GroupName,
}

/// An emergency that nobody has reviewed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unreviewed {
    /// The entry that tells of it.
    pub entry: u64,
    /// What the person was named for.
    pub glass: GlassName,
    /// Who.
    pub by: PrincipalId,
    /// The grant that waited.
    pub grant: GrantId,
    /// Its session.
    pub session: SessionId,
    /// Why.
    pub reason: Words,
    /// When.
    pub at: Timestamp,
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
    /// For which groups.
    pub groups: BTreeSet<GroupName>,
    /// Which guards it lifts.
    pub guards: BTreeSet<PolicyId>,
    /// The hash of what was asked.
    pub request_hash: RequestHash,
    /// The policies that it holds under.
    pub policy_hash: String,
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
    /// For how long.
    pub ttl: Ttl,
    /// The policies that hold now.
    pub policy_hash: &'a str,
    /// Now.
    pub now: Timestamp,
}

impl Approval {
    /// Tells whether it counts for a request.
    #[must_use]
    pub fn counts_for(&self, wanting: Wanting<'_>) -> bool {
        let Wanting { session, asked, scope, ttl, policy_hash, now } = wanting;
        if self.session != session || self.policy_hash != policy_hash || self.until <= now {
            return false;
        }
        if asked == Some((self.grant, &self.request_hash)) {
            return true;
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
) -> Option<Lifted> {
    let mut lifted = Lifted::default();
    for guard in guards {
        let of = |group: &GroupName| {
            let Lifters { quorum, reviewer } = lifters(group)?;
            let mut people = BTreeSet::new();
            let named = approvals.clone().filter(|approval| {
                approval.guards.contains(&guard.policy) && approval.groups.contains(group)
            });
            let (alone, together): (Vec<_>, Vec<_>) =
                named.partition(|one| matches!(one.breadth, Breadth::Emergency { .. }));
            // Why the first of a person: two approvals of one are still one person's.
            let mut by: Vec<u64> = together
                .iter()
                .filter(|one| !is_reviewer(&one.by) && people.insert(&one.by))
                .map(|one| one.entry)
                .collect();
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
) -> Option<Involved> {
    if session.agent == *who {
        Some(Involved::Agent)
    } else if session.person.as_ref() == Some(who) {
        Some(Involved::Person)
    } else if session.opener == *who || openers.any(|opener| opener == who) {
        Some(Involved::Opener)
    } else if session.chain.holds_agent(who) {
        Some(Involved::Delegate)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        delegation::Link,
        grant::{DecidedBy, GrantState},
        id::{Row, Tag},
        review::{Bounds, ReviewerName},
    };

    fn approval(entry: u64, by: &str, guard: &str, group: &str) -> Approval {
        Approval {
            entry,
            grant: GrantId::new(Row::new(1).unwrap(), Tag([1; 10])),
            session: SessionId::new(Row::new(1).unwrap(), Tag([2; 10])),
            by: PrincipalId::parse(by).unwrap(),
            groups: [GroupName::new(group)].into(),
            guards: [PolicyId::new(guard)].into(),
            request_hash: RequestHash::new("h"),
            policy_hash: "p".into(),
            breadth: Breadth::Once,
            reason: Words::default(),
            at: Timestamp::from_seconds(0),
            until: Timestamp::from_seconds(100),
        }
    }

    fn guard(policy: &str, groups: &[&str]) -> Guard {
        Guard {
            policy: PolicyId::new(policy),
            groups: groups.iter().map(|name| GroupName::new(name)).collect(),
            reason: Words::default(),
        }
    }

    fn by(guards: &[Guard], approvals: &[Approval], quorum: u32) -> Option<Vec<u64>> {
        lifted(guards, approvals, Lifters { quorum, reviewer: None }, "git:a/b contents:read")
    }

    fn lifted(
        guards: &[Guard],
        approvals: &[Approval],
        lifters: Lifters<'_>,
        scope: &str,
    ) -> Option<Vec<u64>> {
        let wanting = Wanting {
            session: SessionId::new(Row::new(1).unwrap(), Tag([2; 10])),
            asked: None,
            scope: &Scope::parse(scope).unwrap(),
            ttl: Ttl::from_seconds(60).unwrap(),
            policy_hash: "p",
            now: Timestamp::from_seconds(0),
        };
        lift(guards, approvals.iter(), |_| Some(lifters), &wanting).map(|lifted| lifted.by)
    }

    #[test]
    fn a_reviewer_lifts_alone_within_its_bounds_and_counts_among_no_people() {
        let name = ReviewerName::parse("bot").unwrap();
        let bounds = Bounds {
            within: vec![ScopeBound::parse("git:a/* contents:read").unwrap()],
            ttl: Ttl::from_seconds(60).unwrap(),
            grants: Some(2),
        };
        let power = Power { name: &name, bounds: &bounds, given: 2 };
        let lifters = |quorum, reviewer| Lifters { quorum, reviewer };
        let prod = [guard("prod", &["sec"])];
        let bot = [approval(1, "reviewer:bot", "prod", "sec")];
        let within = "git:a/b contents:read";
        assert_eq!(lifted(&prod, &bot, lifters(2, Some(power)), within), Some(vec![1]));
        assert_eq!(lifted(&prod, &bot, lifters(1, None), within), None, "it is no person");
        assert_eq!(lifted(&prod, &bot, lifters(1, Some(power)), "git:b/b contents:read"), None);
        let often = Power { given: 3, ..power };
        assert_eq!(lifted(&prod, &bot, lifters(1, Some(often)), within), None);
        let tight = Bounds { ttl: Ttl::from_seconds(59).unwrap(), ..bounds.clone() };
        let tight = Power { bounds: &tight, ..power };
        assert_eq!(lifted(&prod, &bot, lifters(1, Some(tight)), within), None);
        let other = ReviewerName::parse("other").unwrap();
        let other = Power { name: &other, ..power };
        assert_eq!(lifted(&prod, &bot, lifters(1, Some(other)), within), None);
        let both = [bot[0].clone(), approval(2, "ana", "prod", "sec")];
        assert_eq!(lifted(&prod, &both, lifters(2, None), within), None, "one person is not two");
        let unnamed = [guard("prod", &["sec"]), guard("other", &["sec"])];
        assert_eq!(lifted(&unnamed, &bot, lifters(1, Some(power)), within), None);
    }

    #[test]
    fn one_person_is_one_however_often_and_a_guard_is_lifted_by_its_own_groups_alone() {
        let (ana, again) = (approval(1, "ana", "prod", "sec"), approval(2, "ana", "prod", "sec"));
        let bo = approval(3, "bo", "prod", "sec");
        let prod = [guard("prod", &["ops", "sec"])];
        assert_eq!(by(&prod, &[ana.clone(), again.clone()], 2), None);
        assert_eq!(by(&prod, &[ana.clone(), again, bo.clone()], 2), Some(vec![1, 3]));
        assert_eq!(by(&prod, &[ana.clone(), bo], 1), Some(vec![1]), "no more than are needed");
        let both = [guard("prod", &["sec"]), guard("other", &["sec"])];
        assert_eq!(by(&both, std::slice::from_ref(&ana), 1), None, "it named one guard only");
        assert_eq!(by(&[guard("prod", &["ops"])], &[ana], 1), None);
        assert_eq!(by(&[], &[], 1), Some(vec![]));
    }

    #[test]
    fn an_emergency_needs_no_quorum_and_lifts_no_guard_but_its_own() {
        let emergency = |entry, guard| Approval {
            breadth: Breadth::Emergency {
                glass: GlassName::new("night"),
                within: ScopeBound::parse("git:acme/pay contents:write").unwrap(),
                grants: 3,
                until: Timestamp::from_seconds(100),
            },
            ..approval(entry, "eve", guard, "sec")
        };
        let prod = [guard("prod", &["sec"])];
        assert_eq!(by(&prod, &[emergency(4, "prod")], 2), Some(vec![4]));
        assert_eq!(by(&prod, &[emergency(4, "other")], 2), None);
        assert_eq!(by(&[guard("prod", &["ops"])], &[emergency(4, "prod")], 1), None);
        let (ana, bo) = (approval(1, "ana", "prod", "sec"), approval(2, "bo", "prod", "sec"));
        assert_eq!(by(&prod, &[emergency(4, "prod"), ana, bo], 2), Some(vec![1, 2]));
        let scope = |text: &str| Scope::parse(text).unwrap();
        let of = emergency(4, "prod");
        let wanting = |scope| Wanting {
            session: of.session,
            asked: None,
            scope,
            ttl: Ttl::from_seconds(3600).unwrap(),
            policy_hash: "p",
            now: Timestamp::from_seconds(99),
        };
        let own = scope("git:acme/pay contents:write ref=agent/x");
        assert!(of.counts_for(wanting(&own)));
        let other = scope("git:acme/web contents:write ref=agent/x");
        assert!(!of.counts_for(wanting(&other)));
        let late = scope("git:acme/pay contents:write");
        assert!(!of.counts_for(Wanting { now: Timestamp::from_seconds(100), ..wanting(&late) }));
        assert!(!of.counts_for(Wanting { policy_hash: "q", ..wanting(&late) }));
    }

    #[test]
    fn any_change_of_what_is_asked_makes_another_request_of_it() {
        let grant = |row: u64| GrantId::new(Row::new(row).unwrap(), Tag([1; 10]));
        let session = |row: u64| SessionId::new(Row::new(row).unwrap(), Tag([2; 10]));
        let name = |text: &str| PrincipalId::parse(text).unwrap();
        let link = |agent: &str| Link { session: session(8), agent: name(agent) };
        let chain = |agent: &str| Chain::try_from(vec![link(agent)]).unwrap();
        let decided = |hash: &str| DecidedBy {
            policies: vec![],
            policy_hash: hash.into(),
            approvals: vec![],
        };
        let asked = Grant {
            id: grant(1),
            session: session(1),
            agent: name("bot"),
            person: Some(name("eve")),
            chain: chain("planner"),
            scope: Scope::parse("git:acme/pay contents:write ref=agent/x").unwrap(),
            ttl: Ttl::from_seconds(60).unwrap(),
            reason: Words::new("please"),
            request_id: None,
            decided_by: decided("p"),
            requested: Timestamp::from_seconds(0),
            renewals: 0,
            entry: None,
            state: GrantState::Minting { since: Timestamp::from_seconds(0) },
        };
        let guards = [guard("prod", &["sec"])];
        let hash = |grant: &Grant| request_hash(grant, &guards, Delivery::Direct, "signed_jwt");
        let right = hash(&asked);
        let scope = |text: &str| Grant { scope: Scope::parse(text).unwrap(), ..asked.clone() };
        let others = [
            Grant { id: grant(2), ..asked.clone() },
            Grant { session: session(2), ..asked.clone() },
            Grant { agent: name("bot2"), ..asked.clone() },
            Grant { person: None, ..asked.clone() },
            Grant { person: Some(name("ana")), ..asked.clone() },
            Grant { chain: Chain::default(), ..asked.clone() },
            Grant { chain: chain("other"), ..asked.clone() },
            Grant { ttl: Ttl::from_seconds(61).unwrap(), ..asked.clone() },
            Grant { decided_by: decided("q"), ..asked.clone() },
            scope("github:acme/pay contents:write ref=agent/x"),
            scope("git:acme/pays contents:write ref=agent/x"),
            scope("git:acme/pay contents:read ref=agent/x"),
            scope("git:acme/pay contents:read,contents:write ref=agent/x"),
            scope("git:acme/pay contents:write ref=agent/xy"),
            scope("git:acme/pay contents:write"),
        ];
        let mut hashes: Vec<_> = others.iter().map(hash).collect();
        hashes.extend([
            request_hash(&asked, &guards, Delivery::Gateway, "signed_jwt"),
            request_hash(&asked, &guards, Delivery::Direct, "github_installation_token"),
            request_hash(&asked, &[], Delivery::Direct, "signed_jwt"),
            request_hash(&asked, &[guard("other", &["sec"])], Delivery::Direct, "signed_jwt"),
        ]);
        for (place, hash) in hashes.iter().enumerate() {
            assert_ne!(*hash, right, "{place}");
            assert!(!hashes.iter().take(place).any(|before| before == hash), "{place}");
        }
        let words = Grant { reason: Words::new("other words"), ..asked.clone() };
        assert_eq!(hash(&words), right, "nothing follows from the agent's words");
        assert_eq!(right.as_str().len(), 64);
    }

    #[test]
    fn an_approval_counts_for_what_was_asked_and_for_what_it_reaches() {
        let hash = RequestHash::new("h");
        let scope = Scope::parse("git:acme/pay contents:write ref=agent/x").unwrap();
        let once = approval(1, "ana", "prod", "sec");
        let ttl = Ttl::from_seconds(60).unwrap();
        let mut session = once.clone();
        session.breadth = Breadth::Session {
            within: ScopeBound::parse("git:acme/pay contents:write ref=agent/*").unwrap(),
            grants: 3,
            ttl,
            until: once.until,
        };
        let asked = Wanting {
            session: once.session,
            asked: Some((once.grant, &hash)),
            scope: &scope,
            ttl,
            policy_hash: "p",
            now: Timestamp::from_seconds(10),
        };
        let later = Wanting { asked: None, ..asked };
        assert!(once.counts_for(asked) && session.counts_for(asked));
        assert!(!once.counts_for(later) && session.counts_for(later));
        let other = RequestHash::new("i");
        assert!(!once.counts_for(Wanting { asked: Some((once.grant, &other)), ..asked }));
        let wider = Scope::parse("git:acme/pay contents:write ref=main").unwrap();
        assert!(!session.counts_for(Wanting { scope: &wider, ..later }));
        assert!(!session.counts_for(Wanting { ttl: Ttl::from_seconds(61).unwrap(), ..later }));
        for wanting in [asked, later] {
            assert!(!session.counts_for(Wanting { policy_hash: "q", ..wanting }));
            assert!(!session.counts_for(Wanting { now: session.until, ..wanting }));
            let stranger = SessionId::new(Row::new(9).unwrap(), Tag([2; 10]));
            assert!(!session.counts_for(Wanting { session: stranger, ..wanting }));
        }
    }
}
