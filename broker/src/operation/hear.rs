//! Ends sessions because a trusted system says so: an identity provider's word about a person.

use std::sync::Arc;

use jeton_domain::{
    revocation::Matching,
    session::Words,
    ttl::{Timestamp, Ttl},
};

use super::{Broker, Refusal};
use crate::{
    identity::oidc::{Believed, Ends},
    limits::SIGNAL_MEMORY_SECONDS,
    store::Order,
};

/// Ends the sessions that a signal is about, with all below them. Returns how many there were.
///
/// A token has the same effect each time it is received, also after a restart: the sessions that it is
/// about are over, and it is not about later ones.
///
/// # Errors
/// When it can't be recorded: the sender must send it again.
pub async fn hear(broker: &Broker, signal: Believed) -> Result<usize, Refusal> {
    let mut sessions: usize = 0;
    let received = match signal.ends.is_empty() {
        true => None,
        false => first_received(broker, &signal).await?,
    };
    for Ends { person, opened_until, until_received, kind } in signal.ends {
        let opened_until = match received {
            Some(received) if until_received => received,
            // Why the earlier: what is told of the event leaves room for clocks, and it ends there.
            Some(received) => opened_until.min(received),
            None => opened_until,
        };
        let order = Order {
            by: signal.by.clone(),
            reason: Words::new(&format!("{}, told by event {}", kind.word(), signal.id)),
            stop: false,
            opened_until: Some(opened_until),
            people: Arc::clone(broker.policies.current().catalogue().people()),
        };
        let matching = Matching::Person(broker.identity(&person));
        let cut = broker.store.revoke_matching(matching, order, broker.clock.now()).await?;
        broker.metrics.revoked(cut.grants.len());
        broker.revocations.notify_one();
        tracing::info!(by = %signal.by, %person, kind = kind.word(), sessions = cut.sessions, grants = cut.grants.len(), "a signal ends sessions");
        sessions = sessions.saturating_add(cut.sessions);
    }
    Ok(sessions)
}

/// When a token was received first. `None` of one that is too old to be remembered, or when too many are.
async fn first_received(broker: &Broker, signal: &Believed) -> Result<Option<Timestamp>, Refusal> {
    let now = broker.clock.now();
    let Some(memory) = Ttl::from_seconds(SIGNAL_MEMORY_SECONDS) else { return Ok(None) };
    // Why: what is forgotten would look as if it were received for the first time.
    if signal.issued.plus(memory) <= now {
        return Ok(None);
    }
    Ok(broker.store.first_received(signal.digest, memory, now).await?)
}
