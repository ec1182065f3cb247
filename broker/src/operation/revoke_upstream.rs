//! Tells upstreams about credentials that ended: from a durable queue, verified, tried again.

use std::{collections::HashMap, sync::Arc};

use jeton_domain::{
    scope::Upstream,
    ttl::{Timestamp, Ttl},
};
use tokio::task::{Id, JoinSet};

use super::{Broker, Refusal, Source, seal::Place};
use crate::{
    limits::REVOCATIONS_AT_ONCE,
    store::{QueuedRevocation, RevocationTry},
};

/// Longest wait between two tries, in seconds.
const LONGEST_WAIT: u32 = 60;

/// Tries that are under way, at each upstream so many at most: one that is slow holds up no other.
#[derive(Default)]
pub struct UnderWay {
    tries: JoinSet<Result<(), Refusal>>,
    places: HashMap<Id, (i64, Upstream)>,
}

impl UnderWay {
    /// Begins to try what is due, as far as there is room.
    ///
    /// # Errors
    /// When the store can't be read. What an upstream answers is recorded, not returned.
    pub async fn begin(&mut self, broker: &Arc<Broker>) -> Result<(), Refusal> {
        // Why twice as many: those under way are still due, and must not hide those behind them.
        let most = REVOCATIONS_AT_ONCE.saturating_mul(2);
        for queued in broker.store.due_revocations(broker.clock.now(), most).await? {
            let at_upstream = self.places.values().filter(|(_, at)| *at == queued.upstream).count();
            let known = self.places.values().any(|(place, _)| *place == queued.place);
            if known || at_upstream >= REVOCATIONS_AT_ONCE {
                continue;
            }
            let of = (queued.place, queued.upstream.clone());
            let handle = self.tries.spawn(try_and_record(Arc::clone(broker), queued));
            self.places.insert(handle.id(), of);
        }
        Ok(())
    }

    /// Waits until all of them are recorded, or not.
    pub async fn finish(&mut self) {
        while !self.tries.is_empty() {
            if let Err(error) = self.one_done().await {
                tracing::error!(%error, "it is tried again at the next start");
            }
        }
    }

    /// Waits until one of them is recorded; for ever if none is under way.
    ///
    /// # Errors
    /// When it could not be recorded: it is still due.
    pub async fn one_done(&mut self) -> Result<(), Refusal> {
        let (id, recorded) = match self.tries.join_next_with_id().await {
            Some(Ok((id, recorded))) => (id, recorded),
            Some(Err(error)) => (error.id(), Err(Refusal::Internal(error.to_string()))),
            None => std::future::pending().await,
        };
        self.places.remove(&id);
        recorded
    }
}

async fn try_and_record(broker: Arc<Broker>, queued: QueuedRevocation) -> Result<(), Refusal> {
    let outcome = try_one(&broker, &queued).await;
    let (grant, now) = (queued.grant, broker.clock.now());
    broker.store.record_revocation_try(queued, outcome, now).await.map_err(|error| {
        Refusal::Internal(format!("an answer about {grant} was not recorded: {error}"))
    })
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
