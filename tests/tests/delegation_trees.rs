//! No descendant ever gets more: random trees of sessions, held against a plain reading of the
//! envelopes, ref by ref.
//!
//! `JETON_CASES` sets how many trees, `JETON_SEED` where to begin.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use jeton_domain::{
    approval::Guard,
    decision::{
        Decision, Delivery, GrantRequest, PolicyId, Question, Rules, Standing, Verdict, decide,
    },
    delegation::{Bequest, Chain, inherit},
    id::{Row, SessionId, Tag},
    limits::DELEGATION_DEPTH,
    principal::{Issuers, PrincipalId},
    revocation::Stops,
    scope::{Scope, ScopeBound},
    session::{Binding, Envelope, Session, SessionState, Words},
    ttl::{Timestamp, Ttl},
};
use jeton_tests::reference::{Line, REFS, fits};

/// Sessions that are tried to open in one tree.
const TRIES: usize = 14;
/// Requests that each session of a tree makes.
const REQUESTS: usize = 3;
const NOW: i64 = 1_790_251_200;

const RESOURCES: [&str; 7] =
    ["acme/one", "acme/two", "acme/*", "acme/o*", "other/one", "**", "acme/**"];
const ACTIONS: [&str; 4] = ["code:read", "code:write", "code:admin", "jobs:run"];
const PATTERNS: [&str; 7] = ["main", "ma*", "agent/*", "agent/**", "agent/x", "**", "release/*"];

/// Allows everything, so that what is refused is refused by the sessions.
struct AllowAll;

impl Rules for AllowAll {
    fn judge(&self, _: &Question<'_>) -> Verdict {
        Verdict::Allow(vec![PolicyId::new("all")])
    }

    fn hash(&self) -> &str {
        "all"
    }
}

/// A small generator: the same seed gives the same tree (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    fn line(&mut self, resources: &[&'static str]) -> Line {
        let mut actions = BTreeSet::from([self.pick(&ACTIONS)]);
        if self.roll(3) == 0 {
            actions.insert(self.pick(&ACTIONS));
        }
        let reference = (self.roll(3) > 0).then(|| self.pick(&PATTERNS));
        Line {
            upstream: self.pick(&["git", "git", "api"]),
            resource: self.pick(resources),
            actions,
            reference,
        }
        .plausible()
    }

    /// Lines of a child: often cut from a parent's, so that trees grow deep.
    fn lines(&mut self, above: Option<&Node>) -> Vec<Line> {
        let count = 1 + self.roll(3);
        let line = |dice: &mut Self| match above {
            Some(parent) if dice.roll(4) > 0 => {
                let mut line = parent.lines[dice.roll(parent.lines.len())].clone();
                match dice.roll(5) {
                    0 => line.resource = dice.pick(&RESOURCES),
                    1 => line.reference = Some(dice.pick(&PATTERNS)),
                    2 => line.reference = None,
                    3 => line.actions = BTreeSet::from([dice.pick(&ACTIONS)]),
                    _ => {}
                }
                line.plausible()
            }
            _ => dice.line(&RESOURCES),
        };
        (0..count).map(|_| line(self)).collect()
    }
}

/// A session of the tree, and the same in plain words.
struct Node {
    session: Session,
    lines: Vec<Line>,
    above: Vec<usize>,
}

fn name(text: &str) -> PrincipalId {
    PrincipalId::parse(text).unwrap()
}

fn envelope(lines: &[Line], grants: u32, ttl: u32) -> Envelope {
    let bounds = lines.iter().map(|line| ScopeBound::parse(&line.text()).unwrap()).collect();
    Envelope::new(bounds, grants, ttl).unwrap()
}

fn session(row: usize, envelope: Envelope, deadline: Timestamp, chain: Chain) -> Session {
    Session {
        id: SessionId::new(Row::new(row as u64 + 1).unwrap(), Tag([7; 10])),
        agent: name(&format!("agent-{row}")),
        person: Some(name("ana")),
        opener: name("ci"),
        task: Words::default(),
        envelope,
        binding: Binding::Bearer,
        handle_hash: [0; 32],
        opened: Timestamp::from_seconds(NOW),
        deadline,
        chain,
        issuers: vec![],
    }
}

/// Grows a tree: each try opens a session below a random one, if that may.
fn grow(dice: &mut Dice, seen: &Seen) -> Vec<Node> {
    let lines = dice.lines(None);
    let (grants, ttl) = (1 + dice.roll(20) as u32, 60 + dice.roll(600) as u32);
    let deadline = Timestamp::from_seconds(NOW + 100 + dice.roll(2000) as i64);
    let root = session(0, envelope(&lines, grants, ttl), deadline, Chain::default());
    let mut tree = vec![Node { session: root, lines, above: vec![] }];
    for _ in 0..TRIES {
        // Why mostly the newest: trees of any depth, and not only broad ones.
        let place = if dice.roll(3) > 0 { tree.len() - 1 } else { dice.roll(tree.len()) };
        let parent = &tree[place];
        let lines = dice.lines(Some(parent));
        let most = parent.session.envelope.max_grants();
        let grants = (most + 2).saturating_sub(1 + dice.roll(4) as u32).max(1);
        let ttl = (parent.session.envelope.max_ttl().seconds() + 20)
            .saturating_sub(10 + dice.roll(60) as u32)
            .max(1);
        let bequest = Bequest {
            envelope: envelope(&lines, grants, ttl),
            person: [None, Some(name("ana")), Some(name("bo"))]
                [dice.pick(&[0, 0, 0, 0, 0, 0, 1, 1, 2])]
            .clone(),
            ttl: Ttl::from_seconds(1 + dice.roll(3000) as u32).unwrap(),
        };
        let now = Timestamp::from_seconds(NOW + dice.roll(50) as i64);
        match inherit(&parent.session, &SessionState::Open, bequest, now) {
            Ok(child) => {
                let mut above = parent.above.clone();
                above.push(place);
                let chain = child.chain().clone();
                let made = session(tree.len(), child.envelope().clone(), child.deadline(), chain);
                assert_eq!(child.person(), Some(&name("ana")));
                seen.opened.fetch_add(1, Ordering::Relaxed);
                seen.deepest.fetch_max(above.len(), Ordering::Relaxed);
                tree.push(Node { session: made, lines, above });
            }
            Err(_) => {
                seen.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    tree
}

/// Whatever a session is granted, each session above it could have been granted too.
fn assert_no_more(dice: &mut Dice, tree: &[Node], seen: &Seen) {
    for node in tree {
        for above in node.above.iter().map(|place| &tree[*place]) {
            assert!(node.session.deadline <= above.session.deadline);
            assert!(node.session.envelope.max_grants() <= above.session.envelope.max_grants());
            assert!(node.session.envelope.max_ttl() <= above.session.envelope.max_ttl());
        }
        for _ in 0..REQUESTS {
            let asked = dice.line(&["acme/one", "acme/two", "other/one"]);
            let Some(ttl) = granted(node, &asked) else { continue };
            seen.granted.fetch_add(1, Ordering::Relaxed);
            for above in node.above.iter().map(|place| &tree[*place]) {
                assert!(ttl <= above.session.envelope.max_ttl());
                assert!(holds_all(above, &asked), "{} of {:?}", asked.text(), node.session.chain);
            }
        }
    }
}

/// Asks the one decision. Gives the life, if it is granted.
fn granted(node: &Node, asked: &Line) -> Option<Ttl> {
    let request = GrantRequest {
        scope: Scope::parse(&asked.text()).unwrap(),
        ttl: None,
        delivery: Delivery::Direct,
        deed: None,
        reason: Words::default(),
    };
    let standing = Standing {
        session: &node.session,
        state: &SessionState::Open,
        approvals: &BTreeSet::new(),
        approved_by: &[],
        stops: &Stops::default(),
        issuers: &Issuers::default(),
        now: Timestamp::from_seconds(NOW + 50),
    };
    match decide(&AllowAll, standing, &request) {
        Decision::Permit(permit) => Some(permit.ttl()),
        Decision::NeedsApproval { guards, .. } => panic!("{:?}", guards.first().map(guard)),
        Decision::Deny(_) => None,
    }
}

fn guard(guard: &Guard) -> String {
    guard.policy.to_string()
}

/// By the plain reading: each ref that was granted lies within one line.
fn holds_all(node: &Node, asked: &Line) -> bool {
    let one = |text| Line { reference: Some(text), ..asked.clone() };
    let refs = REFS.iter().filter(|text| asked.reference.is_none_or(|wide| fits(wide, text)));
    node.lines.iter().any(|line| line.holds(asked))
        && refs.into_iter().all(|text| node.lines.iter().any(|line| line.holds(&one(text))))
}

#[derive(Default)]
struct Seen {
    opened: AtomicUsize,
    refused: AtomicUsize,
    granted: AtomicUsize,
    deepest: AtomicUsize,
}

#[allow(clippy::disallowed_methods, reason = "the size of a test is set from outside")]
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

#[test]
fn no_descendant_of_a_session_ever_gets_more() {
    let (trees, first) = (number("JETON_CASES", 100_000), number("JETON_SEED", 0));
    println!("seeds {first} to {}", first + trees);
    let (next, seen) = (AtomicU64::new(first), Seen::default());
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= first + trees {
            return;
        }
        let story = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut dice = Dice(seed);
            let tree = grow(&mut dice, &seen);
            assert_no_more(&mut dice, &tree, &seen);
        }));
        story.unwrap_or_else(|_| panic!("above: JETON_SEED={seed} JETON_CASES=1"));
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let [opened, refused, granted] =
        [&seen.opened, &seen.refused, &seen.granted].map(|count| count.load(Ordering::Relaxed));
    println!("opened {opened}, refused {refused}, granted {granted}");
    // A test that opens or grants hardly anything would find nothing that is too much.
    let least = usize::try_from(trees).unwrap();
    assert!(opened > least && refused > least && granted > least / 2);
    assert_eq!(seen.deepest.into_inner(), DELEGATION_DEPTH);
}
