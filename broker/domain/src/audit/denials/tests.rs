//! What is written whole, what is counted, and that nothing is lost in between.

use super::*;
use crate::{
    decision::{Delivery, Layer, PolicyId},
    delegation::Chain,
    grant::DecidedBy,
    id::{Row, SessionId, Tag},
    principal::PrincipalId,
    scope::Scope,
};

const MINUTE: i64 = 60_000;

fn name(text: &str) -> PrincipalId {
    PrincipalId::parse(text).unwrap()
}

fn tree(text: &str) -> AccountableSubject {
    AccountableSubject::Tree(name(text))
}

fn address(number: u32) -> AccountableSubject {
    AccountableSubject::of_address(std::net::Ipv4Addr::from_bits(number).into())
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

fn denied(resource: &str) -> Event {
    Event::Denied {
        session: SessionId::new(Row::new(2).unwrap(), Tag([2; 10])),
        agent: name("agent"),
        person: None,
        chain: Chain::default(),
        scope: Scope::parse(&format!("git:{resource} contents:write")).unwrap(),
        delivery: Delivery::Direct,
        layer: Layer::Policy,
        reason: Words::new(&format!("`{resource}` is closed")),
        decided_by: DecidedBy {
            policies: vec![PolicyId::new("prod-is-closed")],
            policy_hash: "ab".into(),
            approvals: vec![],
        },
    }
}

fn failed(subject: &AccountableSubject) -> Event {
    let reason = Words::new("TOKEN_EXPIRED");
    Event::SignInFailed { reason, count: 1, subject: Some(subject.clone()) }
}

/// Admits so many; gives how many of them are written whole.
fn flood(budget: &mut DenialBudget, who: &AccountableSubject, times: u32, now: i64) -> u32 {
    let event = |place| match who.is_authenticated() {
        true => denied(&format!("acme/repo-{}", place % 12)),
        false => failed(who),
    };
    let whole =
        (0..times).filter(|place| budget.admit(who, &event(*place), at(now)) == Recording::Whole);
    u32::try_from(whole.count()).unwrap()
}

fn total(summaries: &[Summary]) -> u64 {
    let counts = |summary: &Summary| {
        let Event::DenialsSummarized { counts, .. } = summary.event() else {
            panic!("it summarizes denials");
        };
        counts
    };
    summaries.iter().flat_map(counts).map(|one| one.count).sum()
}

#[test]
fn the_first_sixty_of_a_minute_are_whole_and_the_rest_is_one_summary() {
    let mut budget = DenialBudget::default();
    assert_eq!(flood(&mut budget, &tree("mallory"), 4_000, 0), 60);
    assert_eq!(budget.take_due(at(MINUTE - 1)), vec![]);
    let summaries = budget.take_due(at(MINUTE));
    assert_eq!((summaries.len(), total(&summaries)), (1, 3_940));
    let Event::DenialsSummarized { subject, agent, counts, resources, more_resources, .. } =
        summaries[0].event()
    else {
        panic!("{summaries:?}")
    };
    assert_eq!((subject, agent), (Some(tree("mallory")), Some(name("agent"))));
    assert_eq!((resources, more_resources), (12, false));
    assert_eq!(counts[0].reason.as_str(), "policy: prod-is-closed");
    assert_eq!(budget.take_all(), vec![], "written once");
    assert_eq!(flood(&mut budget, &tree("mallory"), 70, MINUTE), 60, "the next minute");
}

#[test]
fn a_window_that_is_over_keeps_its_counts_when_the_next_one_begins() {
    let mut budget = DenialBudget::default();
    flood(&mut budget, &tree("mallory"), 100, 0);
    assert_eq!(flood(&mut budget, &tree("mallory"), 100, MINUTE + 5), 60);
    assert_eq!(total(&budget.take_due(at(MINUTE + 5))), 40, "of the first minute");
    assert_eq!(total(&budget.take_all()), 40, "of the second");
}

#[test]
fn only_denials_and_failed_authentication_are_ever_counted() {
    let mut budget = DenialBudget::default();
    let granted = Event::KeyRotated { kid: "k1".into() };
    for _ in 0..10_000 {
        assert_eq!(budget.admit(&tree("mallory"), &granted, at(0)), Recording::Whole);
    }
    let kinds = [DenialKind::Denied, DenialKind::SessionRefused, DenialKind::SignInFailed];
    let words: Vec<_> = kinds.iter().map(|kind| kind.word()).collect();
    assert!(words.iter().all(|word| Event::WORDS.contains(word)), "{words:?}");
    assert_eq!(DenialKind::of(&denied("acme/api")), Some(DenialKind::Denied));
    assert_eq!(DenialKind::of(&failed(&address(1))), Some(DenialKind::SignInFailed));
}

#[test]
fn a_crowd_that_writes_much_leaves_the_first_denials_of_others_whole() {
    let mut budget = DenialBudget::default();
    let crowd: u32 = (0..200)
        .map(|number| flood(&mut budget, &tree(&format!("mallory-{number}")), 1_000, 0))
        .sum();
    assert!(crowd <= DENIAL_ENTRIES_AUTHENTICATED, "{crowd}");
    let victim = flood(&mut budget, &tree("victim"), 10, 1);
    assert_eq!(victim, 10);
    assert_eq!(total(&budget.take_all()), u64::from(200 * 1_000 - crowd));
}

#[test]
fn addresses_without_number_stay_bounded_and_leave_known_callers_alone() {
    let mut budget = DenialBudget::default();
    let whole: u32 = (0..20_000).map(|one| flood(&mut budget, &address(one), 3, 0)).sum();
    assert!(whole <= DENIAL_ENTRIES_UNAUTHENTICATED, "{whole}");
    assert_eq!(flood(&mut budget, &tree("victim"), 60, 0), 60);
    let summaries = budget.take_all();
    assert!(summaries.len() <= crate::limits::DENIAL_SUBJECTS + 1, "{}", summaries.len());
    assert_eq!(total(&summaries), 60_000 - u64::from(whole));
    assert_eq!(summaries.iter().filter(|summary| summary.subject().is_none()).count(), 1);
}

#[test]
fn what_could_not_be_written_is_part_of_a_later_summary() {
    let mut budget = DenialBudget::default();
    flood(&mut budget, &tree("mallory"), 100, 0);
    let summaries = budget.take_all();
    summaries.into_iter().for_each(|summary| budget.put_back(summary, at(5)));
    flood(&mut budget, &tree("mallory"), 100, 6);
    budget.count(&address(1), &failed(&address(1)), at(7));
    let summaries = budget.take_all();
    assert_eq!((summaries.len(), total(&summaries)), (2, 40 + 40 + 1));
}

#[test]
fn a_summary_fits_an_entry_whatever_it_counts() {
    let mut budget = DenialBudget::default();
    for number in 0..3_000 {
        let mut event = denied(&format!("acme/{number}"));
        if let Event::Denied { decided_by, .. } = &mut event {
            let long = format!("{number}-{}", "\u{10348}\"\\".repeat(300));
            decided_by.policies = vec![PolicyId::new(&long)];
        }
        budget.count(&tree("mallory"), &event, at(0));
    }
    let [summary] = &budget.take_all()[..] else { panic!("one") };
    let entry = crate::audit::Entry { v: 1, index: u64::MAX, at: at(0), event: summary.event() };
    let text = entry.text().unwrap();
    assert_eq!(crate::audit::Entry::parse(text.as_bytes()), Ok(entry));
    assert_eq!(total(std::slice::from_ref(summary)), 3_000);
    assert!(matches!(summary.event(), Event::DenialsSummarized { more_resources: true, .. }));
}
