//! Tells upstreams about credentials that ended: from a durable queue, verified, tried again.

use std::sync::Arc;

use jeton_domain::ttl::{Timestamp, Ttl};
use tokio::task::JoinSet;

use super::{Broker, Refusal, Source, seal::Place};
use crate::{
    limits::REVOCATIONS_AT_ONCE,
    store::{QueuedRevocation, RevocationTry},
};

/// Longest wait between two tries, in seconds.
const LONGEST_WAIT: u32 = 60;

/// Tries everything that is due, once. Returns how many there were.
///
/// # Errors
/// When the store can't be read. What an upstream answers is recorded, not returned.
pub async fn revoke_upstream(broker: &Arc<Broker>) -> Result<usize, Refusal> {
    let due = broker.store.due_revocations(broker.clock.now(), REVOCATIONS_AT_ONCE).await?;
    let count = due.len();
    let mut tries = JoinSet::new();
    for queued in due {
        let broker = Arc::clone(broker);
        tries.spawn(async move {
            let outcome = try_one(&broker, &queued).await;
            let grant = queued.grant;
            let now = broker.clock.now();
            broker.store.record_revocation_try(queued, outcome, now).await.map_err(|error| {
                Refusal::Internal(format!("an answer about {grant} was not recorded: {error}"))
            })
        });
    }
    let mut recorded = Ok(());
    while let Some(done) = tries.join_next().await {
        recorded =
            recorded.and(done.unwrap_or_else(|error| Err(Refusal::Internal(error.to_string()))));
    }
    // Why an error: what was not recorded is still due, and asking again at once would be a loop.
    recorded?;
    Ok(count)
}

async fn try_one(broker: &Broker, queued: &QueuedRevocation) -> RevocationTry {
    let now = broker.clock.now();
    if now >= queued.dies {
        return RevocationTry::Done { at: now };
    }
    let Some(Source::Minted(minter)) = broker.sources.get(&queued.upstream) else {
        tracing::error!(grant = %queued.grant, upstream = %queued.upstream, "a credential waits to be revoked at an upstream that is no longer configured");
        return again(queued, now, None);
    };
    let place = Place { grant: queued.grant, version: queued.version };
    let secret = match broker.sealer.open(&queued.sealed, place) {
        Ok(secret) => secret,
        Err(error) => {
            tracing::error!(grant = %queued.grant, %error, "a credential that must be revoked can't be opened");
            return again(queued, now, None);
        }
    };
    match minter.revoke(&secret).await {
        Ok(()) => RevocationTry::Done { at: broker.clock.now() },
        Err(error) => {
            broker.metrics.upstream_revocation_failed();
            tracing::warn!(grant = %queued.grant, attempts = queued.attempts, reason = %error.reason, "an upstream revocation is not confirmed yet");
            again(
                queued,
                now,
                error.retry_after.and_then(|wait| u32::try_from(wait.as_secs()).ok()),
            )
        }
    }
}

/// Twice as long after each try, up to a minute, or what the upstream asked for.
fn again(queued: &QueuedRevocation, now: Timestamp, asked: Option<u32>) -> RevocationTry {
    let backoff = 1_u32.checked_shl(queued.attempts).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
    let wait = Ttl::from_seconds(asked.unwrap_or(backoff).max(1));
    RevocationTry::Again { next: wait.map_or(now, |wait| now.plus(wait)).min(queued.dies) }
}
