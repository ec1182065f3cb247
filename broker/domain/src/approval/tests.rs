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
        account: None,
        groups: [GroupName::new(group)].into(),
        guards: [PolicyId::new(guard)].into(),
        request_hash: RequestHash::new("h"),
        policy_hash: "p".into(),
        delivery: Delivery::Direct,
        breadth: Breadth::Once,
        reason: Words::default(),
        at: Timestamp::from_seconds(0),
        until: Timestamp::from_seconds(100),
    }
}

fn people() -> People {
    let name = |text: &str| PrincipalId::parse(text).unwrap();
    let mut people = People::default();
    let aliases = [name("spiffe://acme.dev/person/ana")].into();
    people.declare(&name("ana@acme.dev"), &aliases, &BTreeSet::new()).unwrap();
    people
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
        delivery: Delivery::Direct,
        ttl: Ttl::from_seconds(60).unwrap(),
        policy_hash: "p",
        now: Timestamp::from_seconds(0),
    };
    lift(guards, approvals.iter(), |_| Some(lifters), &wanting, &people()).map(|lifted| lifted.by)
}

#[test]
fn one_person_is_one_approver_under_every_name_and_account() {
    let prod = [guard("prod", &["sec"])];
    let pair = |one: &str, other: &str| {
        [approval(1, one, "prod", "sec"), approval(2, other, "prod", "sec")]
    };
    for (one, other) in [
        ("Ana@acme.dev", "ANA@acme.dev"),
        ("ana@acme.dev", "spiffe://acme.dev/person/ana"),
        ("bo@acme.dev", "Bo@Acme.dev"),
        ("spiffe://acme.dev/person/cy", "spiffe://acme.dev/person/CY"),
    ] {
        assert_eq!(by(&prod, &pair(one, other), 2), None, "{one} {other}");
        assert_eq!(by(&prod, &pair(one, other), 1), Some(vec![1]), "{one} {other}");
    }
    let mut renamed = pair("bo@acme.dev", "bo.new@acme.dev");
    assert_eq!(by(&prod, &renamed, 2), Some(vec![1, 2]));
    for one in &mut renamed {
        let issuer = crate::principal::Issuer::new("https://login.acme.dev");
        one.account = Some(Account { issuer, subject: "00u7".into() });
    }
    assert_eq!(by(&prod, &renamed, 2), None, "one account is one person");
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
        delivery: Delivery::Direct,
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
    let decided =
        |hash: &str| DecidedBy { policies: vec![], policy_hash: hash.into(), approvals: vec![] };
    let asked = Grant {
        id: grant(1),
        session: session(1),
        agent: name("bot"),
        person: Some(name("eve")),
        chain: chain("planner"),
        scope: Scope::parse("git:acme/pay contents:write ref=agent/x").unwrap(),
        delivery: Delivery::Direct,
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
    let hash = |grant: &Grant| request_hash(grant, &guards, "signed_jwt");
    let right = hash(&asked);
    let scope = |text: &str| Grant { scope: Scope::parse(text).unwrap(), ..asked.clone() };
    let others = [
        Grant { id: grant(2), ..asked.clone() },
        Grant { session: session(2), ..asked.clone() },
        Grant { agent: name("bot2"), ..asked.clone() },
        Grant { delivery: Delivery::Gateway, ..asked.clone() },
        Grant { person: None, ..asked.clone() },
        Grant { person: Some(name("ana")), ..asked.clone() },
        Grant { chain: Chain::default(), ..asked.clone() },
        Grant { chain: chain("other"), ..asked.clone() },
        Grant { ttl: Ttl::from_seconds(61).unwrap(), ..asked.clone() },
        Grant { decided_by: decided("q"), ..asked.clone() },
        scope("github:acme/pay contents:write ref=agent/x"),
        scope("git:acme/pays contents:write ref=agent/x"),
        scope("git:acme/pay contents:admin ref=agent/x"),
        scope("git:acme/pay contents:admin,contents:write ref=agent/x"),
        scope("git:acme/pay contents:write ref=agent/xy"),
        scope("git:acme/pay contents:write"),
    ];
    let mut hashes: Vec<_> = others.iter().map(hash).collect();
    hashes.extend([
        request_hash(&asked, &guards, "github_installation_token"),
        request_hash(&asked, &[], "signed_jwt"),
        request_hash(&asked, &[guard("other", &["sec"])], "signed_jwt"),
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
        delivery: Delivery::Direct,
        ttl,
        policy_hash: "p",
        now: Timestamp::from_seconds(10),
    };
    let later = Wanting { asked: None, ..asked };
    assert!(once.counts_for(asked) && session.counts_for(asked));
    assert!(!once.counts_for(later) && session.counts_for(later));
    let gateway = |one: &Approval| Approval { delivery: Delivery::Gateway, ..one.clone() };
    assert!(!gateway(&session).counts_for(later), "what the gateway may hold, the agent may not");
    assert!(gateway(&session).counts_for(Wanting { delivery: Delivery::Gateway, ..later }));
    assert!(session.counts_for(Wanting { delivery: Delivery::Gateway, ..later }));
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
