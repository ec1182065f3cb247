//! Far more requests than the broker can serve: it sheds, and taking back still wins.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jeton_proto::v1::{RevokeGrantRequest, WhoAmIRequest};
use jeton_tests::{
    broker::{Broker, Caller},
    eventually::within,
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const READ: &str = "git:acme/api contents:read";
/// Connections of the flood. Why so many: one carries 256 calls at once, and 2,048 are served.
const CONNECTIONS: usize = 16;
/// How long it lasts.
const FLOOD: Duration = Duration::from_secs(10);
/// Calls in the first wave, and the time between two waves: sent whether or not others are answered. Each is larger
/// than the one before until something is shed, for how much is too much depends on the machine.
const WAVE: (usize, Duration) = (60, Duration::from_millis(20));
/// Connections of the operator.
const OPERATORS: usize = 2;
/// Time between two revocations of one of them.
const REVOKES_EVERY: Duration = Duration::from_millis(50);
/// What a revocation may take where a debug build and the flood itself share two cores. Without a
/// place of its own it would be shed, or wait for the 2,048 requests before it again and again.
const REVOKED_WITHIN: Duration = Duration::from_secs(10);
/// The longest that a call may be without any answer: the broker's own deadline, and a little.
const ANSWERED_WITHIN: Duration = Duration::from_secs(35);
/// Time after the flood in which everybody is served again.
const WELL_WITHIN: Duration = Duration::from_secs(5);

/// How the calls of the flood ended.
#[derive(Default)]
struct Tally {
    sent: AtomicUsize,
    granted: AtomicUsize,
    shed: AtomicUsize,
}

fn is_shed(status: &Status) -> bool {
    // Also by the transport, where a connection's streams are used up (RFC 9113 §8.7: not begun).
    if status.code() == Code::Unavailable && format!("{status:?}").contains("REFUSED_STREAM") {
        return true;
    }
    let details = status.get_error_details();
    status.code() == Code::Unavailable
        && details.error_info().is_some_and(|info| info.reason == "OVERLOADED")
        && details.retry_info().is_some_and(|info| info.retry_delay.is_some())
}

/// Sends wave after wave until it is told to stop; every call must end as it should.
async fn flood(callers: Vec<Caller>, tally: Arc<Tally>, over: Arc<AtomicBool>) -> JoinSet<()> {
    let mut calls = JoinSet::new();
    let mut waves = interval(WAVE.1);
    waves.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut wave = WAVE.0;
    while !over.load(Ordering::Relaxed) {
        waves.tick().await;
        if tally.shed.load(Ordering::Relaxed) == 0 {
            wave += 2;
        }
        for _ in 0..wave {
            let place = tally.sent.fetch_add(1, Ordering::Relaxed);
            let (caller, tally) = (callers[place % callers.len()].clone(), Arc::clone(&tally));
            calls.spawn(async move {
                let answer = timeout(ANSWERED_WITHIN, caller.requests(READ)).await;
                match answer.expect("a call hangs") {
                    Ok(granted) => {
                        assert!(granted.credential.is_some());
                        tally.granted.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(status) => {
                        assert!(is_shed(&status), "{status:?}");
                        tally.shed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    }
    calls
}

/// Revokes one after the other; gives how long each took.
async fn revokes(operator: Caller, ids: Vec<String>, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut beat = interval(REVOKES_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for id in ids {
        beat.tick().await;
        if over.load(Ordering::Relaxed) {
            break;
        }
        let revoke = RevokeGrantRequest { id, reason: "enough".into(), ..Default::default() };
        let began = Instant::now();
        operator.grants().revoke_grant(revoke).await.expect("every revocation is answered");
        took.push(began.elapsed());
    }
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn load_beyond_all_measure_is_shed_and_revoking_goes_on() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let most = usize::try_from(FLOOD.as_millis() / REVOKES_EVERY.as_millis()).unwrap();
    let mut requests = JoinSet::new();
    for _ in 0..most * OPERATORS {
        let agent = agent.clone();
        requests.spawn(async move { agent.requests(READ).await.unwrap().grant.unwrap().id });
    }
    let ids = requests.join_all().await;
    let mut callers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut caller = broker.as_("agent").await;
        caller.handle = agent.handle.clone();
        callers.push(caller);
    }

    let (tally, over) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
    let flooding = tokio::spawn(flood(callers, Arc::clone(&tally), Arc::clone(&over)));
    let shedding = async || (tally.shed.load(Ordering::Relaxed) > 0).then_some(());
    within(FLOOD, "the broker sheds", shedding).await;
    let mut revoking = JoinSet::new();
    for ids in ids.chunks(most) {
        let operator = broker.as_("ana").await;
        revoking.spawn(revokes(operator, ids.to_vec(), Arc::clone(&over)));
    }
    tokio::time::sleep(FLOOD).await;
    over.store(true, Ordering::Relaxed);
    let ended = Instant::now();
    let calls = flooding.await.unwrap();

    let ordinary = async || agent.requests(READ).await.ok();
    within(WELL_WITHIN, "an ordinary request is served", ordinary).await;
    println!("an ordinary request is served {:?} after the flood", ended.elapsed());
    calls.join_all().await;
    println!("the last call of the flood ended {:?} after it", ended.elapsed());
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (sent, granted, shed) = (count(&tally.sent), count(&tally.granted), count(&tally.shed));
    println!("{sent} calls in {FLOOD:?}: {granted} granted, {shed} shed");
    assert_eq!(granted + shed, sent, "each has its answer");
    assert!(granted > 0 && shed > 0);

    let mut took: Vec<Duration> = revoking.join_all().await.concat();
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    println!(
        "{} revocations meanwhile: p50 {:?}, p99 {:?}, longest {:?}",
        took.len(),
        at(50),
        at(99),
        at(100)
    );
    assert!(at(99) <= REVOKED_WITHIN, "revoking waits behind granting");
    agent.sessions().who_am_i(WhoAmIRequest {}).await.unwrap();
}
