//! What a proof takes for granted holds of the requests that the broker really makes.

use std::{collections::BTreeSet, sync::LazyLock};

use cedar_policy::{Authorizer, Decision, Policy, PolicySet as CedarSet, Request};
use jeton_domain::{
    approval::GroupName,
    decision::{Delivery, Question, Rules, Verdict as DecisionVerdict},
    deed::{Change, Deed, Operation, OperationKind},
    delegation::{Chain, Link},
    id::{Row, SessionId, Tag},
    limits::{DELEGATION_DEPTH, GRANT_TTL_SECONDS},
    principal::{PrincipalId, PrincipalKind},
    scope::Scope,
    ttl::{Timestamp, Ttl},
};
use proptest::prelude::*;

use super::{delivery::Delivered, world};
use crate::{Opener, PolicySet, Vocabulary, prepare::Prepared};

const CATALOGUE: &str = r#"
team = [{ name = "red" }, { name = "blue" }]
upstream = [{ name = "git", actions = ["contents:read", "contents:write"] }, { name = "api", actions = ["jobs:run"] }]
resource = [
    { upstream = "git", name = "acme/one", id = "1", tier = "prod", owner = "red", labels = ["pci", "eu"] },
    { upstream = "git", name = "acme/two", labels = ["x"] },
]
agent = [{ match = "a/*", teams = ["red"], trust = 4 }, { match = "a/2", teams = ["blue"], trust = 10 }]
person = [{ id = "ana", teams = ["blue"] }]
group = [{ name = "g", members = ["ana"] }]
"#;

/// Names whatever can be named, so that everything is known of it.
const NAMING: &str = r#"
@id("agents") permit (principal, action in Jeton::Action::"grant", resource)
when { principal == Jeton::Agent::"a/1" || principal == Jeton::Agent::"a/2" || principal == Jeton::Agent::"b" };
@id("people") permit (principal, action, resource)
when { context has person && (context.person == Jeton::Person::"ana" || context.person == Jeton::Person::"bo") };
@id("opens") permit (principal == Jeton::Person::"ana", action == Jeton::Action::"open_session", resource == Jeton::Agent::"a/2");
@id("resources") permit (principal, action in Jeton::Action::"grant", resource)
when { resource == Jeton::Resource::"1" || resource == Jeton::Resource::"git:acme/two" || resource == Jeton::Resource::"git:other/x" };
@id("places") permit (principal, action in Jeton::Action::"grant", resource)
when { resource in Jeton::Org::"git:acme" || resource in Jeton::Org::"git:other" || resource in Jeton::Org::"api:acme" ||
       resource in Jeton::Upstream::"git" || resource in Jeton::Upstream::"api" };
"#;

const AGENTS: [&str; 4] = ["a/1", "a/2", "b", "c/d"];
const PEOPLE: [&str; 3] = ["ana", "bo", "eve"];
const SCOPES: [&str; 7] = [
    "git:acme/one contents:read",
    "git:acme/one contents:write ref=agent/*",
    "git:acme/two contents:read",
    "git:other/x contents:write ref=**",
    "git:single contents:read",
    "api:acme jobs:run",
    "api:acme/one/two jobs:run",
];

fn id(name: &str) -> PrincipalId {
    PrincipalId::parse(name).unwrap()
}

fn set() -> PolicySet {
    let texts = [("catalogue.toml", CATALOGUE), ("p.cedar", NAMING)];
    let set = PolicySet::from_sources(&texts, &Vocabulary::default());
    set.unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The set, and what a proof about it takes for granted.
static SET: LazyLock<(PolicySet, CedarSet)> = LazyLock::new(|| {
    let set = set();
    let granted = granted(&set);
    assert!(granted.num_of_policies() > 10, "{granted:#?}");
    (set, granted)
});

fn granted(set: &PolicySet) -> CedarSet {
    let forbids = world::of(set, set.policies().map(|(_, policy)| policy)).unwrap();
    let any = Policy::parse(None, world::ANY).unwrap();
    world::joined([any], &forbids).unwrap()
}

fn allows(within: &CedarSet, prepared: &Prepared, request: &Request) -> Result<(), String> {
    let answer = Authorizer::new().is_authorized(request, within, &prepared.entities);
    let failed: Vec<_> = answer.diagnostics().errors().map(ToString::to_string).collect();
    if answer.decision() == Decision::Allow && failed.is_empty() {
        return Ok(());
    }
    let by = answer.diagnostics().reason().filter_map(|id| within.policy(id));
    Err(format!("{failed:?} {}", by.map(ToString::to_string).collect::<String>()))
}

fn chain(agents: &[usize]) -> Chain {
    let links = agents.iter().zip(2..).map(|(agent, row)| Link {
        session: SessionId::new(Row::new(row).unwrap(), Tag([0; 10])),
        agent: id(AGENTS[*agent]),
    });
    Chain::try_from(links.collect::<Vec<_>>()).unwrap()
}

/// A call of an API, as the gateway sees it.
fn call() -> impl Strategy<Value = Deed> {
    let kinds = vec![OperationKind::Query, OperationKind::Mutation];
    let fields = proptest::collection::btree_set("[a-z]{1,3}", 0..3);
    let operation = (proptest::sample::select(kinds), fields);
    let call = |(path, asked): (String, Option<(OperationKind, BTreeSet<String>)>)| {
        let operation = asked.map(|(kind, fields)| Operation { kind, fields: fields.into() });
        let method = if operation.is_some() { "POST" } else { "GET" };
        Deed::Call { method: method.into(), path: path.into(), operation }
    };
    ("/[a-z]{0,4}", proptest::option::of(operation)).prop_map(call)
}

/// Rules about pushes and calls, each with and without leaving direct delivery out.
const RULES: [&str; 7] = [
    "forbid (principal, action in Jeton::Action::\"write\", resource) when { context has file && context.file like \".github/*\" }",
    "forbid (principal, action in Jeton::Action::\"write\", resource) unless { context has change && context.change == \"update\" }",
    "forbid (principal in Jeton::Team::\"red\", action in Jeton::Action::\"grant\", resource) when { !(context has method) }",
    "forbid (principal, action, resource in Jeton::Upstream::\"git\") when { context has method && context.method == \"POST\" }",
    "forbid (principal, action in Jeton::Action::\"write\", resource) when { if context has author then context.author == \"a@b\" else context.ttl > 60 }",
    "permit (principal, action in Jeton::Action::\"grant\", resource) unless { context has file }",
    "forbid (principal, action in Jeton::Action::\"read\", resource) when { context has fields } unless { context.approvals.contains(Jeton::Group::\"g\") }",
];

/// Anything that a push or a call does.
fn deed() -> impl Strategy<Value = Deed> {
    let change = proptest::sample::select(Change::ALL.to_vec());
    let path = proptest::sample::select(vec![".github/x", "src/a"]);
    let file = (change.clone(), path, proptest::option::of(0..9_u64));
    let file =
        file.prop_map(|(change, path, bytes)| Deed::File { change, path: path.into(), bytes });
    let author = proptest::sample::select(vec!["a@b", "c@d"]);
    let commit =
        (change.clone(), author, any::<bool>()).prop_map(|(change, author, signed_off)| {
            Deed::Commit { change, author: author.into(), signed_off }
        });
    prop_oneof![change.prop_map(Deed::Move), file, commit, call()]
}

proptest! {
    #[test]
    fn a_direct_grant_is_to_a_proof_whatever_a_push_or_a_call_does(
        rule in 0..RULES.len(),
        opts_out: bool,
        agent in 0..AGENTS.len(),
        write: bool,
        ttl in 1..=120_u32,
        approved: bool,
        deed in deed(),
    ) {
        let opt_out = if opts_out { "@allow_direct(\"r\") " } else { "" };
        let all = "@id(\"all\") permit (principal in Jeton::Team::\"red\", action in Jeton::Action::\"grant\", resource);";
        let text = format!("{all}\n@id(\"rule\") {opt_out}{};", RULES[rule]);
        let texts = [("catalogue.toml", CATALOGUE), ("p.cedar", text.as_str())];
        let set = PolicySet::from_sources(&texts, &Vocabulary::default());
        let set = set.unwrap_or_else(|problems| panic!("{problems:#?}"));
        let scope = Scope::parse(if write { SCOPES[1] } else { SCOPES[0] }).unwrap();
        let approvals: BTreeSet<_> = approved.then(|| GroupName::new("g")).into_iter().collect();
        let question = Question {
            agent: &id(AGENTS[agent]),
            person: None,
            chain: &Chain::default(),
            scope: &scope,
            action: scope.actions.iter().next().unwrap(),
            ttl: Ttl::from_seconds(ttl).unwrap(),
            delivery: Delivery::Direct,
            deed: None,
            approvals: &approvals,
            now: Timestamp::from_seconds(1_790_251_200),
        };
        let decided = matches!(set.judge(&question), DecisionVerdict::Allow(_));
        let question = Question { deed: Some(&deed), ..question };
        let prepared = set.prepare(&question).unwrap();
        let request = set.grant_request(&prepared, &question).unwrap();
        let delivered = world::joined(Delivered::of(&set, &set.vocabulary).unwrap().all().cloned(), &[]).unwrap();
        let answer = Authorizer::new().is_authorized(&request, &delivered, &prepared.entities);
        prop_assert_eq!(answer.decision() == Decision::Allow, decided);
        // Without a ref, nothing is pushed.
        if scope.git_ref.is_some() || deed.change().is_none() {
            prop_assert_eq!(allows(&granted(&set), &prepared, &request), Ok(()));
        }
    }

    #[test]
    fn every_request_for_a_grant_is_within_what_a_proof_takes_for_granted(
        agent in 0..AGENTS.len(),
        person in proptest::option::of(0..PEOPLE.len()),
        scope in 0..SCOPES.len(),
        above in proptest::collection::vec(0..AGENTS.len(), 0..=DELEGATION_DEPTH),
        ttl in 1..=GRANT_TTL_SECONDS,
        gateway: bool,
        approved: bool,
        call in proptest::option::of(call()),
    ) {
        let (set, granted) = &*SET;
        let scope = Scope::parse(SCOPES[scope]).unwrap();
        let approvals: BTreeSet<_> = approved.then(|| GroupName::new("g")).into_iter().collect();
        let person = person.map(|person| id(PEOPLE[person]));
        let question = Question {
            agent: &id(AGENTS[agent]),
            person: person.as_ref(),
            chain: &chain(&above),
            scope: &scope,
            action: scope.actions.iter().next().unwrap(),
            ttl: Ttl::from_seconds(ttl).unwrap(),
            delivery: if gateway || call.is_some() { Delivery::Gateway } else { Delivery::Direct },
            deed: call.as_ref(),
            approvals: &approvals,
            now: Timestamp::from_seconds(1_790_251_200),
        };
        let prepared = set.prepare(&question).unwrap();
        let request = set.grant_request(&prepared, &question).unwrap();
        prop_assert_eq!(allows(granted, &prepared, &request), Ok(()));
    }

    #[test]
    fn every_opening_of_a_session_is_within_it_too(
        opener in 0..AGENTS.len() + PEOPLE.len(),
        agent in 0..AGENTS.len(),
        person in proptest::option::of(0..PEOPLE.len()),
        above in proptest::collection::vec(0..AGENTS.len(), 0..=DELEGATION_DEPTH),
        ttl in 1..=jeton_domain::limits::SESSION_TTL_SECONDS,
    ) {
        let (set, granted) = &*SET;
        let who = AGENTS.iter().chain(&PEOPLE).nth(opener).unwrap();
        let workload = opener < AGENTS.len();
        let person = person.map(|person| id(PEOPLE[person]));
        let opener = Opener {
            id: &id(who),
            kind: if workload { PrincipalKind::Workload } else { PrincipalKind::Person },
            agent: &id(AGENTS[agent]),
            person: person.as_ref(),
            chain: &chain(&above),
            ttl: Ttl::from_seconds(ttl).unwrap(),
            now: Timestamp::from_seconds(1_790_251_200),
        };
        let prepared = set.prepare_opening(opener).unwrap();
        let request = set.opening_request(&prepared, opener).unwrap();
        prop_assert_eq!(allows(granted, &prepared, &request), Ok(()));
    }
}

#[test]
fn what_the_catalogue_says_otherwise_is_outside_of_it() {
    // The same requests, put to what a proof takes for granted of a catalogue that says otherwise.
    let (real, granted) = &*SET;
    let scope = Scope::parse("git:acme/one contents:read").unwrap();
    let question = Question {
        agent: &id("a/1"),
        person: Some(&id("ana")),
        chain: &Chain::default(),
        scope: &scope,
        action: scope.actions.iter().next().unwrap(),
        ttl: Ttl::from_seconds(60).unwrap(),
        delivery: Delivery::Direct,
        deed: None,
        approvals: &BTreeSet::new(),
        now: Timestamp::from_seconds(0),
    };
    let prepared = real.prepare(&question).unwrap();
    let request = real.grant_request(&prepared, &question).unwrap();
    assert_eq!(allows(granted, &prepared, &request), Ok(()));
    for (from, to) in [
        ("tier = \"prod\", ", ""),
        ("tier = \"prod\"", "tier = \"dev\""),
        ("owner = \"red\"", "owner = \"blue\""),
        ("\"eu\"]", "\"us\"]"),
        ("trust = 4", "trust = 5"),
        ("teams = [\"red\"]", "teams = [\"blue\"]"),
        ("id = \"ana\", teams = [\"blue\"]", "id = \"ana\", teams = []"),
        ("name = \"acme/one\"", "name = \"other/one\""),
    ] {
        assert!(CATALOGUE.contains(from), "{from}");
        let catalogue = CATALOGUE.replace(from, to);
        let texts = [("catalogue.toml", catalogue.as_str()), ("p.cedar", NAMING)];
        let other = PolicySet::from_sources(&texts, &Vocabulary::default()).ok().unwrap();
        assert!(allows(&self::granted(&other), &prepared, &request).is_err(), "{from} {to}");
    }
}
