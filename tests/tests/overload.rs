//! Overload: the broker sheds what exceeds its capacity, revocation keeps its priority, and service recovers.
//!
//! The flood is an open loop with a bounded backlog: calls leave at a fixed rate, whether or not earlier calls are
//! answered, but a connection never has more calls outstanding than it may have streams. A call beyond that is counted
//! and not sent. Without this bound the test would measure the queue inside its own client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jeton_broker::limits::{REQUESTS_AT_ONCE, STREAMS_PER_CONNECTION};
use jeton_proto::v1::{RevokeGrantRequest, WhoAmIRequest};
use jeton_tests::{
    broker::{Broker, Caller},
    eventually::within,
};
use tokio::{
    runtime::Builder,
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const READ: &str = "git:acme/api contents:read";
/// Connections of the flood. Why so many: together they may have twice as many calls outstanding as the broker works on.
const CONNECTIONS: usize = 16;
/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(5);
/// How long the peak is measured, and with how many concurrent calls.
const PEAK: (Duration, usize) = (Duration::from_secs(2), 64);
/// Offered load, as a multiple of the measured peak.
const OFFERED: usize = 10;
/// Time between two bursts of the flood.
const TICK: Duration = Duration::from_millis(10);
/// Connections of the operator.
const OPERATORS: usize = 2;
/// Time between two revocations of one of them.
const REVOKE_INTERVAL: Duration = Duration::from_millis(50);
/// Limits for a revocation during the flood, p50 and p99: a time where the machine is fast enough, on a slower one a share
/// of the time that it takes to serve all calls of the flood that may be outstanding. Why a share: a revocation that has
/// no priority waits for all of them, and the flood's own client takes half of the machine.
const REVOKED_WITHIN: [(usize, Duration, f64); 2] =
    [(50, Duration::from_secs(1), 0.25), (99, Duration::from_secs(2), 0.5)];
/// Limit for any call of the flood: the broker's own deadline, and a little.
const ANSWERED_WITHIN: Duration = Duration::from_secs(35);
/// Limit for recovery: the time after the flood until an ordinary request is served.
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);

/// How the calls of the flood ended.
#[derive(Default)]
struct Outcomes {
    sent: AtomicUsize,
    withheld: AtomicUsize,
    granted: AtomicUsize,
    shed: AtomicUsize,
}

/// One connection of the flood, with the calls that it may still have outstanding.
#[derive(Clone)]
struct Connection {
    caller: Caller,
    free: Arc<Semaphore>,
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

/// Measures how many calls per second are served without overload.
async fn measure_peak(connections: &[Connection]) -> usize {
    let (window, concurrency) = PEAK;
    let end = Instant::now() + window;
    let mut loops = JoinSet::new();
    for index in 0..concurrency {
        let caller = connections[index % connections.len()].caller.clone();
        loops.spawn(async move {
            let mut served = 0;
            while Instant::now() < end {
                caller.requests(READ).await.expect("no overload yet");
                served += 1;
            }
            served
        });
    }
    let served: usize = loops.join_all().await.iter().sum();
    served / usize::try_from(window.as_secs()).unwrap()
}

/// Sends calls at `rate` per second until `over`; returns the calls that are still outstanding.
async fn flood(
    connections: Vec<Connection>,
    rate: usize,
    outcomes: Arc<Outcomes>,
    over: Arc<AtomicBool>,
) -> JoinSet<()> {
    let mut calls = JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let burst = (rate * usize::try_from(TICK.as_millis()).unwrap()).div_ceil(1000);
    let mut turn = 0;
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        for _ in 0..burst {
            turn += 1;
            let connection = &connections[turn % connections.len()];
            let Ok(slot) = Arc::clone(&connection.free).try_acquire_owned() else {
                outcomes.withheld.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            outcomes.sent.fetch_add(1, Ordering::Relaxed);
            let (caller, outcomes) = (connection.caller.clone(), Arc::clone(&outcomes));
            calls.spawn(async move {
                let answer = timeout(ANSWERED_WITHIN, caller.requests(READ)).await;
                drop(slot);
                match answer.expect("every call of the flood is answered") {
                    Ok(granted) => {
                        assert!(granted.credential.is_some());
                        outcomes.granted.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(status) => {
                        assert!(is_shed(&status), "{status:?}");
                        outcomes.shed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        while let Some(ended) = calls.try_join_next() {
            ended.unwrap();
        }
    }
    calls
}

/// Revokes one grant after the other; returns how long each revocation took.
async fn revoke_all(operator: Caller, ids: Vec<String>, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut ticks = interval(REVOKE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for id in ids {
        ticks.tick().await;
        if over.load(Ordering::Relaxed) {
            break;
        }
        let revoke = RevokeGrantRequest { id, reason: "a test".into(), ..Default::default() };
        let began = Instant::now();
        operator.grants().revoke_grant(revoke).await.expect("every revocation is answered");
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[tokio::test(flavor = "multi_thread")]
async fn load_beyond_capacity_is_shed_while_revocation_continues() {
    let broker = Arc::new(Broker::start());
    let (agent, _) = broker.agent_with(&[READ]).await;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut caller = broker.as_("agent").await;
        caller.handle = agent.handle.clone();
        let free = Arc::new(Semaphore::new(usize::try_from(STREAMS_PER_CONNECTION).unwrap()));
        connections.push(Connection { caller, free });
    }
    let per_operator = usize::try_from(FLOOD.as_millis() / REVOKE_INTERVAL.as_millis()).unwrap();
    let mut ids = Vec::new();
    for _ in 0..per_operator * OPERATORS {
        ids.push(agent.requests(READ).await.unwrap().grant.unwrap().id);
    }
    let peak = measure_peak(&connections).await;

    let (outcomes, over) = (Arc::new(Outcomes::default()), Arc::new(AtomicBool::new(false)));
    let flooding = tokio::spawn(flood(
        connections.clone(),
        peak * OFFERED,
        Arc::clone(&outcomes),
        Arc::clone(&over),
    ));
    let shedding = async || (outcomes.shed.load(Ordering::Relaxed) > 0).then_some(());
    within(FLOOD, "the broker sheds", shedding).await;
    // Why threads of their own: on the runtime of the flood, a revocation also waits for the flood's own tasks.
    let mut revoking = Vec::new();
    for ids in ids.chunks(per_operator) {
        let (broker, ids, over) = (Arc::clone(&broker), ids.to_vec(), Arc::clone(&over));
        let operator = async move { revoke_all(broker.as_("ana").await, ids, over).await };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        revoking.push(std::thread::spawn(move || runtime.block_on(operator)));
    }
    let began = Instant::now();
    let before = outcomes.granted.load(Ordering::Relaxed);
    tokio::time::sleep(FLOOD).await;
    let goodput =
        (outcomes.granted.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    let ended = Instant::now();
    let calls = flooding.await.unwrap();
    let outstanding = calls.len();

    let ordinary = async || agent.requests(READ).await.ok();
    within(RECOVERED_WITHIN, "an ordinary request is served", ordinary).await;
    let recovered = ended.elapsed();
    calls.join_all().await;
    let drained = ended.elapsed();

    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (sent, granted, shed) =
        (count(&outcomes.sent), count(&outcomes.granted), count(&outcomes.shed));
    let mut took: Vec<Duration> =
        revoking.into_iter().flat_map(|operator| operator.join().unwrap()).collect();
    took.sort_unstable();
    println!(
        "peak {peak}/s; {sent} sent, {} withheld; {granted} granted, {shed} shed; goodput {:.2} of the peak",
        count(&outcomes.withheld),
        goodput / peak as f64
    );
    println!(
        "recovered after {recovered:?}; {outstanding} outstanding calls answered after {drained:?}; the broker works on {REQUESTS_AT_ONCE}"
    );
    println!(
        "{} revocations: p50 {:?}, p99 {:?}, longest {:?}",
        took.len(),
        percentile(&took, 50),
        percentile(&took, 99),
        percentile(&took, 100)
    );
    assert_eq!(granted + shed, sent, "every call has an answer");
    assert!(granted > 0 && shed > 0);
    let backlog = CONNECTIONS * usize::try_from(STREAMS_PER_CONNECTION).unwrap();
    for (percent, time, share) in REVOKED_WITHIN {
        let limit = time.max(Duration::from_secs_f64(backlog as f64 / peak as f64 * share));
        println!("limit for p{percent} of revocations: {limit:?}");
        assert!(percentile(&took, percent) <= limit, "revocation waits behind requests");
    }
    agent.sessions().who_am_i(WhoAmIRequest {}).await.unwrap();
}
