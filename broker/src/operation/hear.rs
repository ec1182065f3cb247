//! Ends sessions because a trusted system says so: an identity provider's word about a person.

use std::sync::Arc;

use jeton_domain::{revocation::Matching, session::Words};

use super::{Broker, Refusal};
use crate::{
    identity::oidc::{Believed, Ends},
    store::Order,
};

/// Ends the sessions that a signal is about, with all below them. Returns how many there were.
///
/// Telling it again changes nothing: those sessions are over, and later ones are not meant.
///
/// # Errors
/// When it can't be recorded: the sender must send it again.
pub async fn hear(broker: &Broker, signal: Believed) -> Result<usize, Refusal> {
    let mut sessions: usize = 0;
    for Ends { person, opened_until, kind } in signal.ends {
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
