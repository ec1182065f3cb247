//! Ends what is due without anyone asking, and closes what a crash left open.

use jeton_domain::{
    grant::Phase,
    id::GrantId,
    revocation::UpstreamRevocation,
    session::Words,
    ttl::{Timestamp, Ttl},
};

use super::{Broker, Refusal};
use crate::{
    limits::{MINT_DEADLINE, SWEEP_BATCH},
    store::{Ending, Failure, SessionEnding, StoreError},
};

/// How long an unseen credential may live, in seconds.
const UNSEEN_SECONDS: u32 = 3600;

/// What counts as left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At the start: nobody can be minting, so every open mint was left by a crash.
    Start,
    /// Later: only a mint that is older than any mint may be.
    Running,
}

/// Ends everything that is due. Returns how much there was.
///
/// # Errors
/// When the store can't record it; the next sweep tries again.
pub async fn sweep(broker: &Broker, moment: Moment) -> Result<usize, Refusal> {
    let mut count = 0;
    loop {
        let now = broker.clock.now();
        let sessions = broker.store.due_sessions(now, SWEEP_BATCH);
        for id in &sessions {
            let ending = SessionEnding::Expired { by: Broker::own_name()? };
            broker.store.end_session(*id, ending, now).await?;
        }
        let grants = broker.store.due_grants(now, minting_before(moment, now), SWEEP_BATCH);
        // Why all at once: they share commits.
        let endings = grants.iter().map(|id| end_one(broker, *id, now));
        for ended in join_all(endings).await {
            ended?;
        }
        if !grants.is_empty() || !sessions.is_empty() {
            broker.revocations.notify_one();
        }
        // Why later than they die: a verifier whose clock is behind still takes them for alive.
        let long_dead = Timestamp::from_millis(now.millis().saturating_sub(FORGOTTEN_AFTER_MILLIS));
        while broker.store.forget_ended(long_dead, SWEEP_BATCH).await? >= SWEEP_BATCH {}
        count += grants.len() + sessions.len();
        if grants.len() < SWEEP_BATCH && sessions.len() < SWEEP_BATCH {
            return Ok(count);
        }
    }
}

/// How long after its own end an early ending is still told of: twice what clocks may differ.
const FORGOTTEN_AFTER_MILLIS: i64 = 10 * 1000;

fn minting_before(moment: Moment, now: Timestamp) -> Timestamp {
    let deadline = i64::try_from(MINT_DEADLINE.as_millis()).unwrap_or(i64::MAX);
    match moment {
        Moment::Start => now,
        Moment::Running => Timestamp::from_millis(now.millis().saturating_sub(deadline)),
    }
}

async fn end_one(broker: &Broker, id: GrantId, now: Timestamp) -> Result<(), Refusal> {
    let phase = match broker.store.grant(id).await {
        Ok(grant) => grant.state.phase(),
        Err(StoreError::NoGrant) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let done = match phase {
        Phase::Pending => broker.store.end_grant(id, Ending::Lapsed, now).await.map(|_| ()),
        Phase::Active => broker.store.end_grant(id, Ending::Expired, now).await.map(|_| ()),
        Phase::Minting => broker.store.record_failure(left_open(id, now), now).await.map(|_| ()),
        Phase::Released
        | Phase::Expired
        | Phase::Revoked
        | Phase::Failed
        | Phase::Lapsed
        | Phase::Rejected => Ok(()),
    };
    match done {
        // Somebody was quicker; that is as good.
        Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn left_open(id: GrantId, now: Timestamp) -> Failure {
    let until = Ttl::from_seconds(UNSEEN_SECONDS).map_or(now, |ttl| now.plus(ttl));
    Failure {
        grant: id,
        reason: Words::new(
            "the broker stopped while it minted; a credential that the upstream may have made was never seen by anyone",
        ),
        upstream: UpstreamRevocation::Unreachable { until },
        unusable: None,
    }
}

/// Runs futures side by side on this task.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(Box::pin).collect();
    let mut done = Vec::with_capacity(waiting.len());
    std::future::poll_fn(move |context| {
        waiting.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => {
                done.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() {
            std::task::Poll::Ready(std::mem::take(&mut done))
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}
