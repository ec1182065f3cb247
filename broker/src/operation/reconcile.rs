//! Holds what is recorded of live credentials against what their upstream says of them.

use std::collections::HashSet;

use jeton_domain::{
    audit::{Event, Subject},
    grant::Grant,
    id::GrantId,
    scope::Upstream,
    session::Words,
};

use super::{Broker, Refusal, Source, seal::Place};
use crate::{
    limits::RECONCILED_AT_ONCE,
    store::{Ending, StoreError},
    upstream::{Minter, RevokeError, Standing},
};

/// What was seen before: where to go on, and of whom it was told already.
#[derive(Default)]
pub struct Rounds {
    after: Option<GrantId>,
    told: HashSet<GrantId>,
}

/// What a round led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Credentials that the upstream was asked about.
    pub asked: usize,
    /// Those that stand otherwise than recorded.
    pub drifted: usize,
}

/// Asks an upstream about some of its live credentials, and the next time about those after them.
///
/// # Errors
/// When the store fails. An upstream that can't be asked ends the round.
pub async fn reconcile(
    broker: &Broker,
    upstream: &Upstream,
    rounds: &mut Rounds,
) -> Result<Reconciled, Refusal> {
    let Some(Source::Minted(minter)) = broker.sources.get(upstream) else {
        return Ok(Reconciled::default());
    };
    let mut live = broker.store.active_at(upstream);
    live.sort_unstable_by_key(|id| id.row());
    rounds.told.retain(|id| live.contains(id));
    let first = rounds.after.map_or(0, |after| live.partition_point(|id| id.row() <= after.row()));
    let first = first.min(live.len());
    live.rotate_left(first);
    let mut done = Reconciled::default();
    for id in live.into_iter().take(RECONCILED_AT_ONCE) {
        match look(broker, &**minter, id).await? {
            Looked::Over => {}
            Looked::Stands(_, Standing::AsGranted) => {
                rounds.told.remove(&id);
            }
            Looked::Stands(grant, standing) => {
                done.drifted = done.drifted.saturating_add(1);
                if rounds.told.insert(id) {
                    tell(broker, *grant, standing).await?;
                }
            }
            Looked::Unknown(error) => {
                tracing::warn!(%upstream, reason = %error.reason, "an upstream can't be asked about its credentials now");
                return Ok(done);
            }
        }
        done.asked = done.asked.saturating_add(1);
        rounds.after = Some(id);
    }
    Ok(done)
}

enum Looked {
    /// It ended meanwhile, or its credential was replaced.
    Over,
    Stands(Box<Grant>, Standing),
    Unknown(RevokeError),
}

async fn look(broker: &Broker, minter: &dyn Minter, id: GrantId) -> Result<Looked, Refusal> {
    let Some((sealed, version, _)) = current(broker, id).await? else { return Ok(Looked::Over) };
    let secret = broker.sealer.open(&sealed, Place { grant: id, version });
    let secret = secret.map_err(|error| Refusal::Internal(error.to_string()))?;
    let grant = broker.store.grant(id).await?;
    let standing = match minter.look(&secret, &grant.scope).await {
        Ok(standing) => standing,
        Err(error) => return Ok(Looked::Unknown(error)),
    };
    // Why again: what was released or renewed meanwhile is gone because we wanted it so.
    let same = current(broker, id).await?.is_some_and(|(_, now, _)| now == version);
    Ok(if same { Looked::Stands(Box::new(grant), standing) } else { Looked::Over })
}

async fn current(
    broker: &Broker,
    id: GrantId,
) -> Result<Option<(crate::store::Sealed, u32, jeton_domain::ttl::Timestamp)>, Refusal> {
    match broker.store.sealed(id).await {
        Ok(found) => Ok(found),
        Err(StoreError::NoGrant) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Records what was found. A credential that opens something else must not live on.
async fn tell(broker: &Broker, grant: Grant, standing: Standing) -> Result<(), Refusal> {
    let (found, other) = match standing {
        Standing::Other(what) => (format!("at {}: {what}", grant.scope.upstream), true),
        Standing::Gone | Standing::AsGranted => {
            (format!("{} no longer takes its credential", grant.scope.upstream), false)
        }
    };
    tracing::warn!(grant = %grant.id, agent = %grant.agent, found, "an upstream does not agree with what is recorded");
    let id = grant.id;
    let event = Event::DriftFound { of: Subject::of(&grant), found: Words::new(&found) };
    broker.store.append(event, broker.clock.now()).await?;
    if other {
        let (by, reason) = (Broker::own_name()?, Words::new(&found));
        let ending = Ending::Revoked { by, reason };
        let ended = broker.store.end_grant(id, ending, broker.clock.now()).await?;
        broker.metrics.revoked(usize::from(ended.changed));
        broker.revocations.notify_one();
    }
    Ok(())
}
