//! Closes a session and revokes what it holds.

use jeton_domain::{id::SessionId, session::Words};

use super::{Broker, Caller, Refusal};
use crate::store::{SessionEnding, SessionRecord};

/// Ends the session and its grants in one step: no crash leaves one without the other.
///
/// # Errors
/// When there is no such session for this caller, or it can't be recorded.
pub async fn close_session(
    broker: &Broker,
    caller: &Caller,
    id: SessionId,
    reason: Words,
) -> Result<(SessionRecord, usize), Refusal> {
    let record = broker.store.session(id).await?;
    if !caller.may_end(&record.session) {
        return Err(Refusal::NotFound("session"));
    }
    let ending = SessionEnding::Closed { by: caller.principal.id.clone(), reason };
    let (record, revoked) = broker.store.end_session(id, ending, broker.clock.now()).await?;
    broker.metrics.revoked(revoked.len());
    broker.revocations.notify_one();
    Ok((record, revoked.len()))
}
