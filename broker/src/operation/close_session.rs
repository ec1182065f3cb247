//! Closes a session with all below it, and revokes what they hold.

use std::sync::Arc;

use jeton_domain::{id::SessionId, session::Words};

use super::{Broker, Caller, Refusal};
use crate::store::{Cut, SessionEnding, SessionRecord};

/// Ends the sessions and their grants in one step: no crash leaves one without the other.
///
/// # Errors
/// When there is no such session for this caller, or it can't be recorded.
pub async fn close_session(
    broker: &Broker,
    caller: &Caller,
    id: SessionId,
    reason: Words,
) -> Result<(Arc<SessionRecord>, Cut), Refusal> {
    let record = broker.store.session(id).await?;
    if !caller.may_end(&record.session) {
        return Err(Refusal::NotFound("session"));
    }
    let ending = SessionEnding::Closed { by: caller.principal.id.clone(), reason };
    let cut = broker.store.end_session(id, ending, broker.clock.now()).await?;
    broker.metrics.revoked(cut.grants.len());
    broker.revocations.notify_one();
    Ok((broker.store.session(id).await?, cut))
}
