//! Never more than allowed: generated policies, envelopes and requests through the one decision.
//!
//! What is issued lies inside the request, the envelope and the policies, ref by ref; the decision
//! is the one of a plain reference; and one more forbid never widens it.
//!
//! `JETON_CASES` sets how many cases, `JETON_SEED` where to begin.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use jeton_domain::{
    approval::GroupName,
    decision::{self, Decision, Delivery, GrantRequest, Standing},
    delegation::Chain,
    id::{Row, SessionId, Tag},
    principal::{Issuers, PrincipalId},
    revocation::Stops,
    scope::{Action, Scope, ScopeBound, Upstream},
    session::{Binding, Envelope, Session, SessionState, Words},
    ttl::{Timestamp, Ttl},
};
use jeton_policy::{PolicySet, Vocabulary};
use jeton_tests::reference::{self, CATALOGUE, Case, Line, Plain, REFS, Rule};

/// Cases with one policy set. Why many: loading a set costs as much as a thousand decisions.
const CASES_A_SET: u64 = 500;
const NOW: i64 = 1_790_251_200_000;

const ACTIONS: [&str; 5] = ["code:read", "code:write", "code:admin", "jobs:run", "notes:write"];
const WHAT: [&str; 9] = [
    "grant",
    "read",
    "write",
    "admin",
    "other",
    "code:read",
    "code:write",
    "code:admin",
    "jobs:run",
];
const WHO: [Option<&str>; 6] = [
    None,
    None,
    Some("Team::\"red\""),
    Some("Team::\"blue\""),
    Some("Agent::\"a/1\""),
    Some("Agent::\"b\""),
];
const PLACES: [Option<&str>; 7] = [
    None,
    None,
    Some("Upstream::\"git\""),
    Some("Org::\"git:acme\""),
    Some("Org::\"api:acme\""),
    Some("Resource::\"1\""),
    Some("Resource::\"git:acme/two\""),
];
const PREFIXES: [&str; 4] = ["agent/", "ma", "release/", "agent/x"];
const PATTERNS: [&str; 10] = [
    "main",
    "ma*",
    "agent/x",
    "agent/*",
    "agent/**",
    "agent*",
    "release/**",
    "*",
    "**",
    "release/1",
];
const LIVES: [u32; 7] = [30, 60, 300, 600, 900, 3_600, 20_000];

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.roll(among.len())]
    }

    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }

    fn rule(&mut self, id: String, forbids: bool) -> Rule {
        let group_count = if forbids && !self.once_in(4) { 1 + self.roll(2) } else { 0 };
        Rule {
            id,
            forbids,
            who: self.pick(&WHO),
            what: self.pick(&WHAT),
            place: self.pick(&PLACES),
            prod_only: self.once_in(4),
            most: self.once_in(3).then(|| self.pick(&LIVES)),
            prefix: self.once_in(3).then(|| self.pick(&PREFIXES)),
            person: self.once_in(6),
            groups: ["g", "h"][..group_count].to_vec(),
        }
    }

    /// Few rules that meet each other often.
    fn rules(&mut self) -> Vec<Rule> {
        let mut rules: Vec<_> = (0..3 + self.roll(9))
            .map(|n| {
                let forbids = self.once_in(3);
                self.rule(format!("p{n}"), forbids)
            })
            .collect();
        // Why helped: what nothing permits, no guard keeps.
        if !self.once_in(3) {
            let permit = self.rule("broad".into(), false);
            rules.push(Rule { who: None, what: "grant", place: None, person: false, ..permit });
        }
        rules
    }

    fn line(&mut self, resources: &[&'static str]) -> Line {
        let first = self.pick(&ACTIONS);
        let second = self.once_in(3).then(|| self.pick(&ACTIONS));
        Line {
            upstream: self.pick(&["git", "git", "git", "api"]),
            resource: self.pick(resources),
            actions: [first].into_iter().chain(second).collect(),
            reference: (!self.once_in(4)).then(|| self.pick(&PATTERNS)),
        }
    }

    fn case(&mut self) -> Case {
        let resources = ["acme/one", "acme/one", "acme/two", "acme/new", "other/one"];
        let request = self.line(&resources);
        let mut envelope: Vec<_> = (0..1 + self.roll(2))
            .map(|_| self.line(&["acme/*", "**", "acme/one", "*/one", "acme/t*"]))
            .collect();
        // Why helped: chance alone would refuse most requests before a policy is asked.
        if !self.once_in(5) {
            let resource = self.pick(&["**", "*/*", request.resource]);
            let reference = request.reference.filter(|_| self.once_in(2));
            envelope.push(Line { resource, reference, ..request.clone() });
        }
        Case {
            agent: self.pick(&["a/1", "a/2", "b"]),
            person: self.once_in(2),
            envelope,
            max_ttl: self.pick(&LIVES),
            left: if self.once_in(30) { 0 } else { self.pick(&[45, 600, 700, 100_000]) },
            request,
            ttl: (!self.once_in(5)).then(|| self.pick(&LIVES)),
            approvals: ["g", "h"].into_iter().filter(|_| self.once_in(6)).collect(),
        }
    }
}

fn vocabulary() -> Vocabulary {
    let actions = ACTIONS.map(|action| Action::parse(action).unwrap());
    Vocabulary::new(&["git", "api"].map(|name| (Upstream::parse(name).unwrap(), actions.to_vec())))
}

/// A rule in Cedar's words.
fn cedar(rule: &Rule) -> String {
    let Rule { id, forbids, what, .. } = rule;
    let entity = |name: &str| format!("Jeton::{name}");
    let who = rule.who.map_or("principal is Jeton::Agent".into(), |who| {
        let sign = if who.starts_with("Agent") { "==" } else { "in" };
        format!("principal {sign} {}", entity(who))
    });
    let place = rule.place.map_or("resource is Jeton::Resource".into(), |place| {
        let sign = if place.starts_with("Resource") { "==" } else { "in" };
        format!("resource {sign} {}", entity(place))
    });
    let sign = if what.contains(':') { "==" } else { "in" };
    let mut parts: Vec<String> = vec![];
    parts.extend(rule.most.map(|most| format!("context.ttl <= {most}")));
    parts.extend(
        rule.prefix.map(|prefix| format!("(context has ref && context.ref like \"{prefix}*\")")),
    );
    parts.extend(rule.person.then(|| "context has person".into()));
    parts.extend(
        rule.groups
            .iter()
            .map(|group| format!("context.approvals.contains(Jeton::Group::\"{group}\")")),
    );
    let prod = "resource has tier && resource.tier == \"prod\"";
    let mut text = format!(
        "@id(\"{id}\") {} ({who}, action {sign} Jeton::Action::\"{what}\", {place})",
        if *forbids { "forbid" } else { "permit" },
    );
    if rule.prod_only {
        text += &format!(" when {{ {prod} }}");
    }
    match (parts.is_empty(), *forbids) {
        (true, _) => {}
        (false, true) => text += &format!(" unless {{ {} }}", parts.join(" || ")),
        (false, false) => text += &format!(" when {{ {} }}", parts.join(" && ")),
    }
    text + ";\n"
}

fn load(rules: &[Rule], vocabulary: &Vocabulary) -> PolicySet {
    let text: String = rules.iter().map(cedar).collect();
    PolicySet::from_sources(&[("a.cedar", &text), ("catalogue.toml", CATALOGUE)], vocabulary)
        .unwrap_or_else(|problems| panic!("{problems:#?} in\n{text}"))
}

fn ttl(seconds: u32) -> Ttl {
    Ttl::from_seconds(seconds).unwrap()
}

fn decide(set: &PolicySet, case: &Case) -> Decision {
    let now = Timestamp::from_millis(NOW);
    let bounds =
        case.envelope.iter().map(|line| ScopeBound::parse(&line.text()).unwrap()).collect();
    let name = |text: &str| PrincipalId::parse(text).unwrap();
    let session = Session {
        id: SessionId::new(Row::new(1).unwrap(), Tag([7; 10])),
        agent: name(case.agent),
        person: case.person.then(|| name("ana")),
        opener: name("opener"),
        task: Words::default(),
        envelope: Envelope::new(bounds, 10, case.max_ttl).unwrap(),
        binding: Binding::Bearer,
        handle_hash: [0; 32],
        opened: now,
        deadline: Timestamp::from_millis(NOW + i64::from(case.left) * 1000 + 999),
        chain: Chain::default(),
        issuers: vec![],
    };
    let approvals: BTreeSet<_> = case.approvals.iter().map(|group| GroupName::new(group)).collect();
    let state = SessionState::Open;
    let stops = Stops::default();
    let standing = Standing {
        session: &session,
        state: &state,
        approvals: &approvals,
        approved_by: &[],
        stops: &stops,
        issuers: &Issuers::default(),
        now,
    };
    let request = GrantRequest {
        scope: Scope::parse(&case.request.text()).unwrap(),
        ttl: case.ttl.map(ttl),
        delivery: Delivery::Direct,
        reason: Words::default(),
    };
    decision::decide(set, standing, &request)
}

/// The decision in the words of the reference.
fn plain(decision: &Decision) -> Plain {
    match decision {
        Decision::Permit(permit) => Plain::Permit { ttl: permit.ttl().seconds() },
        Decision::NeedsApproval { guards, ttl, .. } => Plain::NeedsApproval {
            ttl: ttl.seconds(),
            guards: guards.iter().map(|guard| guard.policy.to_string()).collect(),
        },
        Decision::Deny(denial) => Plain::Deny { layer: denial.layer.word() },
    }
}

/// Takes what was issued apart, down to single actions and refs, and holds each against all three.
fn assert_inside(decision: &Decision, case: &Case, rules: &[Rule]) {
    let Decision::Permit(permit) = decision else { return };
    let (scope, life) = (permit.scope(), permit.ttl().seconds());
    assert!(case.ttl.is_none_or(|asked| life <= asked), "longer than asked");
    assert!(life <= case.max_ttl && life <= case.left, "longer than the envelope or the session");
    assert_eq!((permit.agent().as_str(), permit.person().is_some()), (case.agent, case.person));
    assert_eq!(
        (scope.upstream.as_str(), scope.resource.as_str()),
        (case.request.upstream, case.request.resource)
    );
    let issued_ref = scope.git_ref.as_ref().map(|pattern| pattern.as_str());
    for action in scope.actions.iter() {
        assert!(case.request.actions.contains(action.as_str()), "an action that nobody asked for");
        for text in REFS
            .iter()
            .filter(|text| issued_ref.is_none_or(|pattern| reference::fits(pattern, text)))
        {
            let one = Line {
                actions: case
                    .request
                    .actions
                    .iter()
                    .copied()
                    .filter(|asked| *asked == action.as_str())
                    .collect(),
                reference: Some(text),
                ..case.request.clone()
            };
            assert!(
                case.request.reference.is_none_or(|asked| reference::fits(asked, text)),
                "{text} was not asked for"
            );
            assert!(
                case.envelope.iter().any(|line| line.holds(&one)),
                "{text} is outside the envelope"
            );
            let ask = case.ask(action.as_str(), life, Some(text), &case.approvals);
            assert!(reference::allows(rules, &ask), "no policy allows {action} on {text}");
        }
    }
}

/// One more forbid never turns a "no" into more than a "no", nor makes a life longer.
fn assert_no_wider(narrow: &Plain, wide: &Plain) {
    match (narrow, wide) {
        (Plain::Permit { ttl: narrow }, Plain::Permit { ttl: wide }) => assert!(narrow <= wide),
        (Plain::Permit { .. }, _) => panic!("a forbid let something through"),
        (Plain::NeedsApproval { .. }, wide) => assert!(!matches!(wide, Plain::Deny { .. })),
        (Plain::Deny { .. }, _) => {}
    }
}

#[allow(clippy::disallowed_methods, reason = "the size of a test is set from outside")]
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

#[test]
fn nothing_is_issued_beyond_request_envelope_and_policy() {
    let (cases, first) = (number("JETON_CASES", 100_000), number("JETON_SEED", 0));
    let sets = cases.div_ceil(CASES_A_SET);
    println!("seeds {first} to {} of {CASES_A_SET} cases each", first + sets);
    let next = AtomicU64::new(first);
    let seen: [AtomicUsize; 5] = Default::default();
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= first + sets {
            return;
        }
        let mut dice = Dice(seed);
        let vocabulary = vocabulary();
        let rules = dice.rules();
        let mut stricter = rules.clone();
        stricter.push(dice.rule("one-more".into(), true));
        let (set, stricter_set) = (load(&rules, &vocabulary), load(&stricter, &vocabulary));
        for place in 0..CASES_A_SET {
            let case = dice.case();
            let story = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let decision = decide(&set, &case);
                let found = plain(&decision);
                assert_eq!(found, reference::decide(&rules, &case));
                assert_inside(&decision, &case, &rules);
                let narrow = decide(&stricter_set, &case);
                assert_eq!(plain(&narrow), reference::decide(&stricter, &case));
                assert_inside(&narrow, &case, &stricter);
                assert_no_wider(&plain(&narrow), &found);
                found
            }));
            let found = story.unwrap_or_else(|_| {
                let text: String = stricter.iter().map(cedar).collect();
                panic!("above: JETON_SEED={seed}, case {place}, {case:#?} under\n{text}")
            });
            let kind = match found {
                Plain::Permit { .. } => 0,
                Plain::NeedsApproval { .. } => 1,
                Plain::Deny { layer: "policy" } => 2,
                Plain::Deny { layer: "envelope" } => 3,
                Plain::Deny { .. } => 4,
            };
            seen[kind].fetch_add(1, Ordering::Relaxed);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let seen = seen.map(AtomicUsize::into_inner);
    println!("permitted, guarded, refused by policy, envelope, session: {seen:?}");
    // A test that hardly permits anything would find no permit that is too wide.
    assert!(seen.iter().all(|count| *count as u64 > cases / 100), "{seen:?}");
}
