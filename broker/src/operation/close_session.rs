//! Closes a session and revokes what it holds.

use jeton_domain::{id::SessionId, revocation::Matching, session::Words};

use super::{Broker, Caller, Refusal};
use crate::store::{SessionEnding, SessionRecord};

/// Ends the session first, so that nothing new is granted in it, then its grants.
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
    let now = broker.clock.now();
    let by = caller.principal.id.clone();
    let ending = SessionEnding::Closed { by: by.clone(), reason: reason.clone() };
    let record = broker.store.end_session(id, ending, now).await?;
    let revoked = broker.store.revoke_matching(Matching::Session(id), by, reason, now).await?;
    broker.metrics.revoked(revoked.len());
    broker.revocations.notify_one();
    Ok((record, revoked.len()))
}
