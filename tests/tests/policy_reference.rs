//! The engine answers as the policies are meant: a million generated cases, each decided by the real
//! decision with a really loaded policy set, and by a plain reference of a few hundred lines that
//! knows no Cedar, no index and no memory.
//!
//! The answers have to be the same in kind, life, guards, refusing layer and the ids of all policies
//! that had a word in them. `JETON_CASES` sets how many cases, `JETON_SEED` where to begin.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use jeton_tests::reference::{
    self, Case, Plain,
    dice::Dice,
    policy::Book,
    real::{decide, load, plain},
};

/// Cases with one policy set. Why many: loading a set costs as much as a thousand decisions.
const CASES_A_SET: u64 = 2_000;

/// The kinds of answers and cases that have to be seen, each in one of so many cases at least.
const KINDS: [(&str, u64); 18] = [
    ("permit", 10),
    ("permit, longest life found", 2_000),
    ("permit by several policies", 50),
    ("permit by approval", 200),
    ("permit passed on", 200),
    ("needs approval", 50),
    ("needs approval of several guards", 5_000),
    ("needs approval, passed on", 500),
    ("deny by session", 100),
    ("deny by stop", 50),
    ("deny by envelope", 20),
    ("deny by policy", 10),
    ("deny by policy, a forbid", 50),
    ("deny by policy, no permit", 50),
    ("deny by policy, broken", 200),
    ("deny by delivery", 1_000),
    ("decided by the time", 20_000),
    ("decided by gateway", 2_000),
];

#[allow(clippy::disallowed_methods, reason = "the size of a test is set from outside")]
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// What of a case and its answer a test has to see.
fn kinds(book: &Book, case: &Case, answer: &Plain) -> Vec<&'static str> {
    let passed_on = !case.above.is_empty();
    let mut kinds = vec![];
    let mut seen = |kind, is: bool| kinds.extend(is.then_some(kind));
    match answer {
        Plain::Permit { ttl, ids } => {
            let longest = case.ttl.is_none() && *ttl < case.max_ttl.min(case.left);
            let alone = Case { approvals: Default::default(), ..case.clone() };
            seen("permit", true);
            seen("permit, longest life found", longest);
            seen("permit by several policies", ids.len() > 1);
            seen("permit passed on", passed_on);
            let approved = !case.approvals.is_empty()
                && !matches!(reference::decide(book, &alone), Plain::Permit { .. });
            seen("permit by approval", approved);
        }
        Plain::NeedsApproval { guards, .. } => {
            seen("needs approval", true);
            seen("needs approval of several guards", guards.len() > 1);
            seen("needs approval, passed on", passed_on);
        }
        Plain::Deny { layer: "policy", ids } => {
            let one = |id: &String| book.rules.iter().find(|rule| rule.id == *id).unwrap();
            let breaks = |id| format!("{:?}", one(id)).contains("Overflows");
            seen("deny by policy", true);
            seen("deny by policy, a forbid", ids.iter().any(|id| one(id).forbids));
            seen("deny by policy, no permit", ids.is_empty());
            seen("deny by policy, broken", ids.iter().any(breaks));
        }
        Plain::Deny { layer: "session", .. } => seen("deny by session", true),
        Plain::Deny { layer: "stop", .. } => seen("deny by stop", true),
        Plain::Deny { layer: "envelope", .. } => seen("deny by envelope", true),
        Plain::Deny { layer: "delivery", .. } => seen("deny by delivery", true),
        Plain::Deny { layer, .. } => panic!("an unknown layer: {layer}"),
    }
    kinds
}

/// Tells whether one change of a case alone changes the answer.
fn depends(book: &Book, case: &Case, answer: &Plain, change: impl FnOnce(&mut Case)) -> bool {
    let mut other = case.clone();
    change(&mut other);
    reference::decide(book, &other) != *answer
}

/// Decides all cases of one set both ways, and tells what was seen.
fn hold(seed: u64) -> Vec<&'static str> {
    let mut dice = Dice::new(seed);
    let mut book = dice.book();
    if dice.once_in(4) {
        dice.break_one(&mut book);
    }
    let set = load(&mut book);
    let mut seen = vec![];
    for place in 0..CASES_A_SET {
        let case = dice.case();
        let story = catch_unwind(AssertUnwindSafe(|| {
            let wanted = reference::decide(&book, &case);
            assert_eq!(plain(&decide(&set, &case)), wanted);
            wanted
        }));
        let answer = story.unwrap_or_else(|_| {
            let (cedar, facts) = (book.cedar(), book.facts.toml());
            panic!("above: JETON_SEED={seed}, case {place}, {case:#?} under\n{cedar}{facts}")
        });
        seen.extend(kinds(&book, &case, &answer));
        // Why not for each: it costs another two decisions.
        if place % 16 == 0 {
            let later = |case: &mut Case| case.now += 1 << 30;
            let gateway = |case: &mut Case| case.gateway ^= true;
            seen.extend(depends(&book, &case, &answer, later).then_some("decided by the time"));
            seen.extend(depends(&book, &case, &answer, gateway).then_some("decided by gateway"));
        }
    }
    seen
}

#[test]
fn a_million_cases_are_decided_as_the_reference_decides_them() {
    let (cases, first) = (number("JETON_CASES", 1_000_000), number("JETON_SEED", 0));
    let sets = cases.div_ceil(CASES_A_SET);
    println!("seeds {first} to {} of {CASES_A_SET} cases each", first + sets);
    let next = AtomicU64::new(first);
    let seen: Mutex<BTreeMap<&str, u64>> = Mutex::default();
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= first + sets {
            return;
        }
        let found = hold(seed);
        let mut seen = seen.lock().unwrap();
        found.into_iter().for_each(|kind| *seen.entry(kind).or_default() += 1);
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let seen = seen.into_inner().unwrap();
    println!("{seen:#?}");
    // A test that hardly sees an answer proves nothing about it.
    for (kind, one_in) in KINDS {
        let count = seen.get(kind).copied().unwrap_or(0);
        assert!(count > cases / one_in, "{kind}: {count} of {cases}");
    }
}
