//! Never more than allowed: generated policies, envelopes and requests through the one decision.
//!
//! What is issued lies inside the request, the envelope and the policies, ref by ref, for each that
//! passed it on; and one more forbid never widens it. That the decision is the one of a plain
//! reference, `policy_reference` shows.
//!
//! `JETON_CASES` sets how many cases, `JETON_SEED` where to begin.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use jeton_domain::decision::Decision;
use jeton_tests::reference::{
    self, Case, Line, Plain, REFS,
    dice::Dice,
    policy::{Answer, Book},
    real::{decide, load, plain},
};

/// Cases with one policy set. Why many: loading a set costs as much as a thousand decisions.
const CASES_A_SET: u64 = 500;

/// Takes what was issued apart, down to single actions and refs, and holds each against all three.
fn assert_inside(decision: &Decision, case: &Case, book: &Book) {
    let Decision::Permit(permit) = decision else { return };
    let (scope, life) = (permit.scope(), permit.ttl().seconds());
    assert!(case.ttl.is_none_or(|asked| life <= asked), "longer than asked");
    assert!(life <= case.max_ttl && life <= case.left, "longer than the envelope or the session");
    let person = permit.person().map(|person| person.as_str());
    assert_eq!((permit.agent().as_str(), person), (case.agent, case.person));
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
            for ask in case.asks(action.as_str(), life, Some(text), &case.approvals) {
                let answer = book.answer(&ask);
                assert!(matches!(answer, Answer::Allow(_)), "{ask:?} on {text}: {answer:?}");
            }
        }
    }
}

/// One more forbid never turns a "no" into more than a "no", nor makes a life longer.
fn assert_no_wider(narrow: &Plain, wide: &Plain) {
    match (narrow, wide) {
        (Plain::Permit { ttl: narrow, .. }, Plain::Permit { ttl: wide, .. }) => {
            assert!(narrow <= wide)
        }
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
        let mut dice = Dice::new(seed);
        let mut book = dice.book();
        let set = load(&mut book);
        let mut stricter = book.clone();
        stricter.rules.push(dice.rule("one-more".into(), true));
        let stricter_set = load(&mut stricter);
        for place in 0..CASES_A_SET {
            let case = dice.case();
            let story = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let decision = decide(&set, &case);
                let found = plain(&decision);
                assert_inside(&decision, &case, &book);
                let narrow = decide(&stricter_set, &case);
                assert_inside(&narrow, &case, &stricter);
                assert_no_wider(&plain(&narrow), &found);
                found
            }));
            let found = story.unwrap_or_else(|_| {
                let (cedar, facts) = (stricter.cedar(), stricter.facts.toml());
                panic!("above: JETON_SEED={seed}, case {place}, {case:#?} under\n{cedar}{facts}")
            });
            let kind = match found {
                Plain::Permit { .. } => 0,
                Plain::NeedsApproval { .. } => 1,
                Plain::Deny { layer: "policy", .. } => 2,
                Plain::Deny { layer: "envelope", .. } => 3,
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
