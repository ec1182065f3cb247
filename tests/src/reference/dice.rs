//! Throws policies, facts and cases that meet each other often.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ABOVE, Case, Line, OWN, Stopped,
    policy::{Book, Facts, Known, Listed, Place, Rule, Test, What, Who},
    text::{GROUPS, TEAMS},
};

const UPSTREAMS: [&str; 2] = ["git", "api"];
const RESOURCES: [&str; 6] = ["acme/one", "acme/one", "acme/two", "acme/new", "other/one", "solo"];
const BOUNDS: [&str; 6] = ["acme/*", "**", "acme/one", "*/one", "acme/t*", "*"];
const AGENTS: [&str; 4] = ["a/1", "a/2", "b/1", "c"];
const KNOWN: [&str; 6] = ["a/*", "a/1", "*/1", "**", "*", "b/*"];
const PERSONS: [&str; 2] = ["ana", "bo"];
const OPENERS: [&str; 4] = ["ci", "ci", "ana", "b/1"];
const TIERS: [&str; 2] = ["prod", "test"];
const LABELS: [&str; 2] = ["pci", "old"];
const ACTIONS: [&str; 5] = ["code:read", "code:write", "code:admin", "jobs:run", "notes:write"];
const LEVELS: [&str; 5] = ["grant", "read", "write", "admin", "other"];
const PREFIXES: [&str; 4] = ["agent/", "ma", "release/", "agent/x"];
const NAMED_REFS: [&str; 3] = ["main", "agent/x", "release/1"];
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
/// Before and after what policies say about the time.
const TIMES: [i64; 2] = [1_767_225_600, 1_790_251_200];

/// SplitMix64: small, and the same everywhere.
pub struct Dice {
    state: u64,
    /// Whether policies speak about the time. Why few sets: none of their answers is remembered.
    timed: bool,
    /// Whether policies speak about pushes and calls. Why few sets: most of their direct answers are no.
    deeds: bool,
}

impl Dice {
    /// Starts at a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed, timed: false, deeds: false }
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.roll(among.len())]
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }

    fn some(&mut self, among: &[&'static str], once_in: usize) -> BTreeSet<&'static str> {
        among.iter().copied().filter(|_| self.once_in(once_in)).collect()
    }

    /// Policies and what they are about.
    pub fn book(&mut self) -> Book {
        let facts = self.facts();
        self.timed = self.once_in(4);
        // Why without a throw: sets that do not speak about them stay the same.
        self.deeds = self.state.is_multiple_of(6);
        let mut rules: Vec<_> = (0..3 + self.roll(9))
            .map(|n| {
                let forbids = self.once_in(3);
                self.rule(format!("p{n}"), forbids)
            })
            .collect();
        // Why helped: what nothing permits, no guard keeps.
        if !self.once_in(3) {
            let permit = self.rule("broad".into(), false);
            let (what, when) = (What::Group("grant"), permit.when.into_iter().take(1).collect());
            let (who, place) = (Who::Anybody, Place::Anywhere);
            let opts_out = false;
            rules.push(Rule { who, what, place, when, unless: vec![], opts_out, ..permit });
        }
        Book { facts, rules }
    }

    fn facts(&mut self) -> Facts {
        let some_actions = ACTIONS.into_iter().filter(|_| !self.once_in(3)).collect();
        let mut resources = vec![];
        for upstream in UPSTREAMS {
            for name in self.some(&RESOURCES, 2) {
                resources.push(Listed {
                    upstream,
                    name,
                    id: None,
                    tier: self.once_in(2).then(|| self.pick(&TIERS)),
                    owner: self.once_in(3).then(|| self.pick(&TEAMS)),
                    labels: self.some(&LABELS, 3),
                });
            }
        }
        for (number, one) in resources.iter_mut().enumerate() {
            one.id = self.once_in(2).then(|| number.to_string());
        }
        let agents = (0..2 + self.roll(3)).map(|_| Known {
            pattern: self.pick(&KNOWN),
            teams: self.some(&TEAMS, 2),
            trust: self.once_in(2).then(|| self.roll(8) as u32),
        });
        let agents = agents.collect();
        let persons: Vec<_> = PERSONS.into_iter().filter(|_| self.once_in(2)).collect();
        Facts {
            actions: BTreeMap::from([("git", ACTIONS.to_vec()), ("api", some_actions)]),
            resources,
            agents,
            persons: persons.into_iter().map(|person| (person, self.some(&TEAMS, 2))).collect(),
        }
    }

    /// A policy.
    pub fn rule(&mut self, id: String, forbids: bool) -> Rule {
        let what = match self.roll(8) {
            0..4 => What::Group(self.pick(&LEVELS)),
            4 => What::Anything,
            5 => What::Several((0..1 + self.roll(3)).map(|_| self.pick(&ACTIONS)).collect()),
            _ => What::One(self.pick(&ACTIONS)),
        };
        let who = match self.roll(6) {
            0..3 => Who::Anybody,
            3 => Who::Agent(self.pick(&AGENTS)),
            _ => Who::Team(self.pick(&TEAMS)),
        };
        let upstream = self.pick(&["git", "git", "api"]);
        let place = match self.roll(6) {
            0..2 => Place::Anywhere,
            2 => Place::Upstream(upstream),
            3 => Place::Org(upstream, self.pick(&["acme", "acme", "other"])),
            _ => Place::Resource(upstream, self.pick(&RESOURCES)),
        };
        let opts_out = self.deeds && self.once_in(3);
        let (when, unless) = (vec![], vec![]);
        let mut rule = Rule { id, forbids, who, what, place, when, unless, opts_out };
        if matches!(rule.what, What::Anything) {
            // Such a policy is also about opening sessions, and those have a life and a depth only.
            rule.when.extend(self.once_in(3).then(|| self.everywhere()));
            rule.unless.extend(self.once_in(6).then(|| self.everywhere()));
            return rule;
        }
        let (mut when, mut unless) = (self.roll(2), usize::from(self.once_in(4)));
        if forbids {
            (when, unless) = (usize::from(self.once_in(3)), usize::from(self.once_in(3)));
        }
        rule.when = (0..when).map(|_| self.test(!forbids, false, 2)).collect();
        rule.unless = (0..unless).map(|_| self.test(forbids, forbids, 2)).collect();
        if forbids && !self.once_in(4) {
            let guard = Test::ApprovedBy(self.pick(&GROUPS));
            let guard = match self.roll(4) {
                0 => Test::All(vec![self.test(true, false, 1), guard]),
                1 => Test::Any(vec![guard, self.test(true, true, 1)]),
                _ => guard,
            };
            rule.unless.push(guard);
        }
        rule
    }

    fn everywhere(&mut self) -> Test {
        match self.roll(4) {
            0 => Test::HasPerson,
            1 => Test::DepthAtMost(self.roll(3)),
            2 => Test::PassedOnBy(self.pick(&AGENTS)),
            _ => Test::TtlAtMost(self.pick(&LIVES)),
        }
    }

    /// A condition. Refs and approvals stand only where "no" refuses, and no `&&` needs two groups.
    fn test(&mut self, refs: bool, approvals: bool, depth: usize) -> Test {
        if depth > 0 && self.once_in(4) {
            return match self.roll(3) {
                0 => Test::Not(Box::new(self.test(false, false, depth - 1))),
                1 => Test::All(vec![
                    self.test(refs, approvals, depth - 1),
                    self.test(refs, false, depth - 1),
                ]),
                _ => Test::Any(vec![
                    self.test(refs, approvals, depth - 1),
                    self.test(refs, approvals, depth - 1),
                ]),
            };
        }
        match self.roll(18) {
            0..3 => Test::TtlAtMost(self.pick(&LIVES)),
            3..6 if refs => match self.once_in(4) {
                true => Test::RefIs(self.pick(&NAMED_REFS)),
                false => Test::RefBegins(self.pick(&PREFIXES)),
            },
            6 if approvals => Test::ApprovedBy(self.pick(&GROUPS)),
            3 | 7 => Test::Tier(self.pick(&TIERS)),
            4 | 8 => Test::Label(self.pick(&LABELS)),
            5 | 9 => Test::Owner(self.pick(&TEAMS)),
            6 | 10 => Test::PersonIs(self.pick(&PERSONS)),
            11 => Test::PersonIn(self.pick(&TEAMS)),
            12 => Test::TrustAtLeast(1 + self.roll(5) as u32),
            13 => Test::AgentIn(self.pick(&TEAMS)),
            14 => Test::ByGateway,
            15 if self.timed => Test::Since(TIMES[1]),
            16 if self.deeds => Test::BringsFile(self.pick(&["src", ".github"])),
            17 if self.deeds => Test::Calls(self.pick(&["GET", "DELETE"])),
            _ => self.everywhere(),
        }
    }

    /// Makes one policy of a book one that can't be computed for some questions.
    pub fn break_one(&mut self, book: &mut Book) {
        let place = self.roll(book.rules.len());
        let rule = &mut book.rules[place];
        let tests = if self.once_in(2) { &mut rule.when } else { &mut rule.unless };
        tests.push(Test::Overflows);
    }

    fn line(&mut self, resources: &[&'static str]) -> Line {
        let first = self.pick(&ACTIONS);
        let second = self.once_in(4).then(|| self.pick(&ACTIONS));
        let reference = (!self.once_in(4)).then(|| self.pick(&PATTERNS));
        Line {
            upstream: self.pick(&["git", "git", "git", "api"]),
            resource: self.pick(resources),
            actions: [first].into_iter().chain(second).collect(),
            reference,
        }
        .plausible()
    }

    /// A request and all that it depends on.
    pub fn case(&mut self) -> Case {
        let request = self.line(&RESOURCES);
        let mut envelope: Vec<_> = (0..1 + self.roll(2)).map(|_| self.line(&BOUNDS)).collect();
        // Why helped: chance alone would refuse most requests before a policy is asked.
        if !self.once_in(8) {
            let resource = self.pick(&["**", "**", request.resource]);
            let reference = request.reference.filter(|_| self.once_in(2));
            envelope.push(Line { resource, reference, ..request.clone() });
        }
        let above = if self.once_in(3) { 1 + self.roll(3) } else { 0 };
        let stops = if self.once_in(8) { 1 + self.roll(2) } else { 0 };
        Case {
            agent: self.pick(&AGENTS),
            person: self.once_in(2).then(|| self.pick(&PERSONS)),
            opener: self.pick(&OPENERS),
            above: (0..above).map(|_| self.pick(&AGENTS)).collect(),
            closed: self.once_in(60),
            doubted: self.once_in(60),
            envelope,
            max_ttl: if self.once_in(4) { self.pick(&LIVES) } else { 20_000 },
            left: if self.once_in(60) { 0 } else { self.pick(&[45, 700, 100_000, 100_000]) },
            request,
            ttl: (!self.once_in(6)).then(|| self.pick(&LIVES)),
            gateway: self.once_in(3),
            approvals: self.some(&GROUPS, 6),
            stops: (0..stops).map(|_| self.stop()).collect(),
            now: self.pick(&TIMES),
        }
    }

    fn stop(&mut self) -> Stopped {
        match self.roll(8) {
            0 => Stopped::Session(self.pick(&[OWN, ABOVE, ABOVE + 1, ABOVE + 2, 7])),
            1 => Stopped::Agent(self.pick(&AGENTS)),
            2 => Stopped::Person(self.pick(&PERSONS)),
            3 if self.once_in(3) => Stopped::All,
            4 => Stopped::Policy("broad"),
            5 => Stopped::Upstream(self.pick(&UPSTREAMS)),
            _ => Stopped::Resource(self.pick(&UPSTREAMS), self.pick(&RESOURCES)),
        }
    }
}
