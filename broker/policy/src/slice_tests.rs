//! Slice = whole set: generated policies answer every generated question as Cedar does when it is
//! handed all of them, with the same deciding ids and the same failures.

use std::{collections::BTreeSet, sync::Arc};

use cedar_policy::{Context, Decision, Entity, Policy, Request};
use jeton_domain::{
    approval::GroupName,
    decision::{Delivery, Question, Rules, Verdict},
    delegation::Chain,
    principal::{PrincipalId, PrincipalKind},
    scope::{Action, Scope, Upstream},
    ttl::{Timestamp, Ttl},
};

use super::{
    PolicyProblem, PolicySet, Vocabulary, index::Slice, judge::Opener, prepare::Prepared,
    vocabulary::level_group,
};

const SETS: u64 = 250;
const QUESTIONS: usize = 60;

const CATALOGUE: &str = r#"
team = [{ name = "red" }, { name = "blue" }]
upstream = [{ name = "git" }, { name = "api" }]
resource = [
    { upstream = "git", name = "acme/one", id = "1", tier = "prod", owner = "red" },
    { upstream = "git", name = "acme/two" },
]
agent = [
    { match = "a/*", teams = ["red"], trust = 4 },
    { match = "a/2", teams = ["blue"] },
]
person = [{ id = "ana", teams = ["blue"] }]
group = [{ name = "g", members = ["ana"] }]
"#;

const PRINCIPALS: &[&str] = &[
    "principal",
    "principal",
    "principal is Jeton::Agent",
    "principal is Jeton::Person",
    "principal is Jeton::Agent in Jeton::Team::\"blue\"",
    "principal in Jeton::Team::\"red\"",
    "principal in Jeton::Team::\"blue\"",
    "principal == Jeton::Agent::\"a/1\"",
    "principal == Jeton::Agent::\"b\"",
    "principal == Jeton::Person::\"ana\"",
];
const ACTIONS: &[&str] = &[
    "action",
    "action in Jeton::Action::\"grant\"",
    "action in Jeton::Action::\"read\"",
    "action in [Jeton::Action::\"write\", Jeton::Action::\"other\"]",
    "action == Jeton::Action::\"contents:read\"",
    "action in [Jeton::Action::\"contents:write\", Jeton::Action::\"jobs:run\"]",
    "action == Jeton::Action::\"open_session\"",
];
const RESOURCES: &[&str] = &[
    "resource",
    "resource",
    "resource is Jeton::Resource",
    "resource is Jeton::Agent",
    "resource is Jeton::Resource in Jeton::Org::\"git:acme\"",
    "resource in Jeton::Org::\"git:acme\"",
    "resource in Jeton::Upstream::\"git\"",
    "resource == Jeton::Resource::\"1\"",
    "resource == Jeton::Resource::\"git:acme/two\"",
    "resource == Jeton::Agent::\"a/1\"",
    "resource in Jeton::Team::\"red\"",
];
const CONDITIONS: &[&str] = &[
    "",
    "",
    "when { context.ttl <= 300 }",
    "when { context has person && context.person in Jeton::Team::\"blue\" }",
    "when { context.now > datetime(\"2026-01-01\") }",
    "when { context.ttl * 9223372036854775807 > 0 }",
    "when { principal has trust && principal.trust > 3 }",
    "when { resource has tier && resource.tier == \"prod\" }",
    "unless { context.approvals.contains(Jeton::Group::\"g\") }",
    "when { context has file && context.file like \"a/*\" }",
    "unless { context has method && context.method == \"GET\" }",
];

const AGENTS: &[&str] = &["a/1", "a/2", "b"];
const PEOPLE: &[&str] = &["ana", "bo"];
const SCOPES: &[&str] = &[
    "git:acme/one contents:read",
    "git:acme/one contents:write ref=x",
    "git:acme/two jobs:run",
    "git:other/one contents:read",
    "api:acme contents:read",
    "api:acme/one contents:write",
];

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.roll(among.len())]
    }
}

fn vocabulary() -> Vocabulary {
    let actions =
        ["contents:read", "contents:write", "jobs:run"].map(|a| Action::parse(a).unwrap());
    Vocabulary::new(&["git", "api"].map(|name| (Upstream::parse(name).unwrap(), actions.to_vec())))
}

fn load(policies: &[String]) -> Result<PolicySet, Vec<PolicyProblem>> {
    let text: String =
        policies.iter().enumerate().map(|(n, rest)| format!("@id(\"p{n}\") {rest}\n")).collect();
    PolicySet::from_sources(&[("a.cedar", &text), ("catalogue.toml", CATALOGUE)], &vocabulary())
}

/// Policies that validate, each on a line. Most that are thrown could never match and are refused.
fn some_policies(dice: &mut Dice) -> Vec<String> {
    let mut policies: Vec<_> = (0..400)
        .map(|_| {
            let effect = dice.pick(&["permit", "permit", "forbid"]);
            let scope = [PRINCIPALS, ACTIONS, RESOURCES].map(|parts| dice.pick(parts)).join(", ");
            format!("{effect} ({scope}) {};", dice.pick(CONDITIONS))
        })
        .collect();
    while let Err(problems) = load(&policies) {
        let bad: BTreeSet<_> = problems.iter().filter_map(|problem| problem.line).collect();
        let mut line = 0;
        policies.retain(|_| {
            line += 1;
            !bad.contains(&line)
        });
    }
    policies
}

/// The same question with every policy of the set.
fn with(slice: &Arc<Slice>, prepared: &Prepared) -> Prepared {
    Prepared {
        principal: prepared.principal.clone(),
        action: prepared.action.clone(),
        resource: prepared.resource.clone(),
        person: prepared.person.clone(),
        entities: prepared.entities.clone(),
        slice: slice.clone(),
        gateway_only: vec![],
        memo: crate::memo::Memo::default(),
    }
}

/// What the whole set's answer means for a delivery. Whether a scope matches is Cedar's word: each policy is
/// put to it alone, as a permit without conditions.
fn delivered(
    set: &PolicySet,
    verdict: Verdict,
    question: &Question<'_>,
    all: &Prepared,
) -> Verdict {
    let liftable = match &verdict {
        Verdict::Allow(_) => true,
        Verdict::Forbid(guards) => guards.iter().all(|guard| !guard.groups.is_empty()),
        Verdict::Nothing | Verdict::GatewayOnly(_) | Verdict::Error(_) => false,
    };
    let covered: Vec<_> = match question.action.as_str() {
        "contents:write" => vec!["contents:write", "contents:read"],
        own => vec![own],
    };
    let requests: Vec<_> = covered
        .into_iter()
        .map(|action| {
            let (principal, resource) = (all.principal.clone(), all.resource.clone());
            let action = set.names.action(action);
            Request::new(principal, action, resource, Context::empty(), None).unwrap()
        })
        .collect();
    // Actions are in their groups.
    let actions = ["contents:read", "contents:write", "jobs:run"].map(|action| {
        let action = Action::parse(action).unwrap();
        let groups = ["grant", level_group(&action)].map(|group| set.names.action(group));
        Entity::new(set.names.action(action.as_str()), [].into(), groups.into()).unwrap()
    });
    let own = all.action.clone();
    let actions = actions.into_iter().filter(|action| action.uid() != own);
    let entities = all.entities.clone().add_entities(actions, None).unwrap();
    let about = |policy: &Policy| {
        let mut json = policy.to_json().unwrap();
        json["effect"] = "permit".into();
        json["conditions"] = serde_json::json!([]);
        let bare = Policy::from_json(Some(policy.id().clone()), json).unwrap();
        let bare = cedar_policy::PolicySet::from_policies([bare]).unwrap();
        let allows = |request: &Request| {
            set.authorizer.is_authorized(request, &bare, &entities).decision() == Decision::Allow
        };
        requests.iter().any(allows)
    };
    let reads = |policy: &Policy| {
        let text = policy.to_string();
        ["context has file", "context has method"].iter().any(|one| text.contains(one))
    };
    let found = set.policies().filter(|(_, policy)| reads(policy) && about(policy));
    let ids: Vec<_> = found.map(|(id, _)| id).collect();
    match liftable && question.delivery == Delivery::Direct && !ids.is_empty() {
        true => Verdict::GatewayOnly(ids),
        false => verdict,
    }
}

fn name(text: &str) -> PrincipalId {
    PrincipalId::parse(text).unwrap()
}

#[test]
fn a_slice_decides_as_the_whole_set_does() {
    let policies = some_policies(&mut Dice(0));
    let mut seen = [0_usize; 5];
    let mut saved = 0;
    for seed in 0..SETS {
        let mut dice = Dice(seed);
        let few: Vec<_> =
            (0..dice.roll(16)).map(|_| policies[dice.roll(policies.len())].clone()).collect();
        let set = load(&few).unwrap_or_else(|problems| panic!("seed {seed}: {problems:?}"));
        let whole = Arc::new(set.index.everything());
        for _ in 0..QUESTIONS {
            let agent = name(dice.pick(AGENTS));
            let person = [None, Some(name(dice.pick(PEOPLE)))][dice.roll(2)].clone();
            let ttl = Ttl::from_seconds(dice.pick(&[60, 300, 301])).unwrap();
            let now = Timestamp::from_seconds(dice.pick(&[0, 1_790_251_200]));
            let (verdict, wanted, prepared) = if dice.roll(6) == 0 {
                let kind = dice.pick(&[PrincipalKind::Workload, PrincipalKind::Person]);
                let opener = name(dice.pick(&[AGENTS, PEOPLE].concat()));
                let (agent, person, chain) = (&agent, person.as_ref(), &Chain::default());
                let opener = Opener { id: &opener, kind, agent, person, chain, ttl, now };
                let prepared = set.prepare_opening(opener).unwrap();
                let all = with(&whole, &prepared);
                let request = set.opening_request(&all, opener).unwrap();
                (set.may_open(opener), set.ask(&all, &request), prepared)
            } else {
                let scope = Scope::parse(dice.pick(SCOPES)).unwrap();
                let delivery = dice.pick(&[Delivery::Direct, Delivery::Gateway]);
                let approvals: BTreeSet<_> =
                    (0..dice.roll(2)).map(|_| GroupName::new("g")).collect();
                let question = Question {
                    agent: &agent,
                    person: person.as_ref(),
                    chain: &Chain::default(),
                    scope: &scope,
                    action: scope.actions.iter().next().unwrap(),
                    ttl,
                    delivery,
                    deed: None,
                    approvals: &approvals,
                    now,
                };
                let prepared = set.prepare(&question).unwrap();
                let all = with(&whole, &prepared);
                let request = set.grant_request(&all, &question).unwrap();
                let wanted = delivered(&set, set.ask(&all, &request), &question, &all);
                (set.judge(&question), wanted, prepared)
            };
            assert_eq!(verdict, wanted, "seed {seed}: {agent} {person:?} {}", prepared.resource);
            saved += whole.policies.num_of_policies() - prepared.slice.policies.num_of_policies();
            seen[match verdict {
                Verdict::Allow(_) => 0,
                Verdict::Forbid(_) => 1,
                Verdict::Nothing => 2,
                Verdict::Error(_) => 3,
                Verdict::GatewayOnly(_) => 4,
            }] += 1;
        }
    }
    // A test that sees no answer of some kind, or leaves no policy out, proves nothing about it.
    assert!(seen.iter().all(|count| *count > 300), "{seen:?}");
    assert!(saved > 10_000, "{saved}");
}
