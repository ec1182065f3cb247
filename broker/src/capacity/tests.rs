use jeton_domain::principal::PrincipalId;

use super::*;

fn id(name: &str) -> PrincipalId {
    PrincipalId::parse(name).unwrap()
}

fn alone(name: &str) -> SlotHolder {
    SlotHolder::principal(&id(name))
}

fn address(last: u8) -> SlotHolder {
    SlotHolder::address([127, 0, 0, last].into())
}

/// Takes as many slots as the subject gets.
fn fill(capacity: &Capacity, subject: &SlotHolder) -> Vec<Slot> {
    std::iter::from_fn(|| capacity.take(subject)).collect()
}

#[test]
fn one_root_gets_half_and_leaves_something_for_ten_more() {
    let capacity = Capacity::new(Shares { size: 2048, of_root: 2048, of_member: 2048 });
    let mut held = Vec::new();
    let mut got = Vec::new();
    for number in 0..11 {
        let slots = (0..8)
            .flat_map(|agent| {
                let (creator, agent) = (id(&format!("c{number}")), id(&format!("a{agent}")));
                fill(&capacity, &SlotHolder::delegated(&creator, &agent))
            })
            .collect::<Vec<_>>();
        got.push(slots.len());
        held.push(slots);
    }
    assert!(got[0] <= 1024, "{got:?}");
    assert!(got.iter().all(|got| *got > 0), "{got:?}");
    assert!(capacity.take(&alone("victim")).is_some());
    drop(held);
    assert_eq!(capacity.held(), (0, 0), "nothing is kept of those that left");
}

#[test]
fn a_tree_counts_as_one_member_and_leaves_its_siblings_a_share() {
    let capacity = Capacity::new(Shares::with_member(16, 2));
    let creator = id("orchestrator");
    let of = |agent: &str| SlotHolder::delegated(&creator, &id(agent));
    assert_eq!(fill(&capacity, &of("greedy")).len(), 2);
    let _greedy = fill(&capacity, &of("greedy"));
    assert!(capacity.take(&of("sibling")).is_some());
    let held: Vec<_> =
        (0..8).flat_map(|agent| fill(&capacity, &of(&format!("agent-{agent}")))).collect();
    assert!(capacity.held().0 <= 8, "one creator has half at most");
    assert!(capacity.take(&alone("another")).is_some());
    drop(held);
}

#[test]
fn the_last_slot_is_given_and_the_next_is_refused() {
    let capacity = Capacity::new(Shares { size: 2, of_root: 2, of_member: 2 });
    let one = capacity.take(&alone("one"));
    let two = capacity.take(&alone("two"));
    assert!(one.is_some() && two.is_some());
    assert!(capacity.take(&alone("three")).is_none());
    drop(one);
    assert!(capacity.take(&alone("three")).is_some());
}

#[tokio::test]
async fn a_slot_is_waited_for_up_to_a_time() {
    let capacity = Capacity::new(Shares { size: 1, of_root: 1, of_member: 1 });
    let held = capacity.take(&alone("one")).unwrap();
    let began = Instant::now();
    let wait = Duration::from_millis(50);
    assert!(capacity.take_within(&alone("two"), wait).await.is_none());
    assert!(began.elapsed() >= wait);
    let waiting = capacity.clone();
    let waiting = tokio::spawn(async move {
        waiting.take_within(&alone("two"), Duration::from_secs(60)).await.is_some()
    });
    tokio::task::yield_now().await;
    drop(held);
    assert!(waiting.await.unwrap());
}

#[test]
fn a_full_pool_evicts_the_oldest_idle_slot_of_whoever_holds_most() {
    let capacity = Capacity::new(Shares { size: 8, of_root: 8, of_member: 8 });
    let take = |subject: &SlotHolder| {
        let activity = Activity::default();
        (capacity.take_evictable(subject, activity.clone()).unwrap(), activity)
    };
    let greedy: Vec<_> = (0..7).map(|_| take(&address(1))).collect();
    let (modest, _) = take(&address(2));
    let _busy = greedy[0].1.begin();
    let (_newcomer, _) = take(&address(3));
    let gone = |slot: &Slot| slot.evicted.is_cancelled();
    assert_eq!(greedy.iter().filter(|(slot, _)| gone(slot)).count(), 1);
    assert!(gone(&greedy[1].0), "the first is busy, so the second is the oldest idle one");
    assert!(!gone(&modest));
    assert_eq!(capacity.held().0, 8);
    drop(greedy);
    assert_eq!(capacity.held(), (2, 2), "an evicted slot is released once");
}

#[test]
fn fifty_addresses_leave_a_newcomer_its_slot() {
    let capacity = Capacity::new(Shares { size: 64, of_root: 32, of_member: 32 });
    let mut held = Vec::new();
    for round in 0..40 {
        for last in 1..=50 {
            let slot = capacity.take_evictable(&address(last), Activity::default());
            assert!(slot.is_some(), "round {round}, address {last}");
            held.extend(slot);
        }
    }
    let newcomer = capacity.take_evictable(&address(99), Activity::default()).unwrap();
    assert!(!newcomer.evicted.is_cancelled());
    assert_eq!(capacity.held().0, 64);
    // Whoever comes next takes it from those with more.
    let more = capacity.take_evictable(&address(1), Activity::default()).unwrap();
    assert!(!newcomer.evicted.is_cancelled());
    drop((held, newcomer, more));
    assert_eq!(capacity.held(), (0, 0));
}

#[test]
fn one_address_evicts_its_own_slots_at_its_bound() {
    let capacity = Capacity::new(Shares { size: 8, of_root: 4, of_member: 4 });
    let take = |last| capacity.take_evictable(&address(last), Activity::default()).unwrap();
    let other = take(2);
    let own: Vec<_> = (0..5).map(|_| take(1)).collect();
    assert!(own[0].evicted.is_cancelled() && !own[1].evicted.is_cancelled());
    assert!(!other.evicted.is_cancelled());
}
