//! The same load with a million grants in the store: active ones for memory, old ones for latency.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::{POLICIES, agents, drive, many_policies, median, resident_mib};
use crate::broker::Broker;

/// Calls at once.
const AT_ONCE: usize = 64;

/// Measures an empty store, one with old grants, and the memory of one with active grants.
pub(super) async fn measure(window: Duration, rounds: usize, grants: u64) -> Value {
    let empty = Broker::start_with(|data| many_policies(data, POLICIES));
    let old = grown(grants, State::Over).await;
    let (on_empty, on_old) = (agents(&empty).await, agents(&old).await);
    let (mut p99_empty, mut p99_old, mut ratios) = (vec![], vec![], vec![]);
    for _ in 0..rounds {
        let (a, b) = (
            drive(&on_empty, AT_ONCE, window, empty.pid()).await,
            drive(&on_old, AT_ONCE, window, old.pid()).await,
        );
        p99_empty.push(a.p99_ms);
        p99_old.push(b.p99_ms);
        ratios.push(b.per_second / a.per_second);
    }
    drop((empty, old));
    let one = grown(1, State::Active).await;
    let few = resident_mib(one.pid());
    drop(one);
    let active = grown(grants, State::Active).await;
    let many = resident_mib(active.pid());
    json!({
        "grants": grants,
        "concurrency": AT_ONCE,
        "p99_ms_empty": median(p99_empty),
        "p99_ms_old_grants": median(p99_old),
        "rate_ratio_old_to_empty": (median(ratios) * 1000.0).round() / 1000.0,
        "resident_mib_one_active": few,
        "resident_mib_active": many,
        "bytes_per_active_grant": ((many - few) * 1_048_576.0 / grants as f64).round(),
    })
}

#[derive(Clone, Copy)]
enum State {
    Active,
    Over,
}

/// A broker whose store holds copies of one real grant.
async fn grown(grants: u64, state: State) -> Broker {
    let mut broker = Broker::start_with(|data| many_policies(data, POLICIES));
    let (agent, _) = broker.agent_with(&["git:acme/* contents:write"]).await;
    agent.requests("git:acme/api contents:write ref=agent/*").await.unwrap();
    broker.stop();
    let db = Connection::open(broker.data().join("jeton.db")).unwrap();
    let until = crate::now().as_millisecond() + 11 * 3600 * 1000;
    let (phase, text) = match state {
        State::Active => (2, format!(r#"{{"state":"active","until":{until}}}"#)),
        State::Over => (
            4,
            format!(r#"{{"state":"expired","at":{until},"upstream":{{"upstream":"not_needed"}}}}"#),
        ),
    };
    db.execute_batch("BEGIN").unwrap();
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO grants SELECT g.row + n.i, randomblob(10), g.session, ?2, ?3, g.scope, g.ttl, g.reason,
             NULL, g.decided_by, g.requested, 0, NULL, g.dies, NULL, g.entry
         FROM n, (SELECT * FROM grants ORDER BY row DESC LIMIT 1) g",
        rusqlite::params![i64::try_from(grants).unwrap(), phase, text],
    )
    .unwrap();
    db.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(db);
    broker.run();
    broker
}
