//! A store that was put back from a backup: found by a checkpoint outside of it, made harmless, and
//! answered for by an operator before anything is granted again.
//!
//! A backup knows nothing of what was revoked after it. So everything that it holds open ends.

use jeton_domain::{audit::Event, merkle::SignedCheckpoint, principal::Role, session::Words};

use super::{Broker, Caller, Refusal};
use crate::store::{PageAt, SessionEnding, SessionFilter, SessionPhase};

/// Sessions that are ended in one go.
const AT_ONCE: u32 = 256;

/// Holds the store against checkpoints that were signed before. Call once, before serving.
///
/// # Errors
/// When the store holds other entries than were signed for, or can't be read.
pub async fn find(broker: &Broker, copy: Option<&SignedCheckpoint>) -> Result<bool, Refusal> {
    let own = super::receipt::newest(broker).await?;
    if let Some(own) = own
        && !holds(broker, &own).await?
    {
        return Err(Refusal::Internal(
            "the store's log is not the one that its own checkpoint was signed for: somebody changed it; `jeton audit verify` tells where".into(),
        ));
    }
    let Some(copy) = copy else { return Ok(false) };
    if holds(broker, copy).await? {
        return Ok(false);
    }
    broker.halt.restored(true);
    let signed = copy.checkpoint().size;
    let event = Event::RestoreFound { signed, found: broker.store.growth().borrow().size() };
    broker.store.append(event, broker.clock.now()).await?;
    end_all(broker).await?;
    Ok(true)
}

/// Lets granting go on.
///
/// # Errors
/// When the caller is no operator, nothing waits for it, or it can't be recorded.
pub async fn acknowledge(broker: &Broker, caller: &Caller, reason: Words) -> Result<(), Refusal> {
    if !caller.principal.has(Role::Operator) {
        return Err(Refusal::Forbidden("acknowledging a restored store needs the role operator"));
    }
    if reason.as_str().is_empty() {
        return Err(Refusal::Invalid {
            field: "reason",
            message: "it is missing; say for the record why the store was restored".into(),
        });
    }
    if !broker.halt.is_restored() {
        return Err(Refusal::State("no restored store waits to be acknowledged".into()));
    }
    let event = Event::RestoreAcknowledged { by: caller.principal.id.clone(), reason };
    broker.store.append(event, broker.clock.now()).await?;
    broker.halt.restored(false);
    Ok(())
}

/// Tells whether the log begins with what a checkpoint was signed for.
async fn holds(broker: &Broker, signed: &SignedCheckpoint) -> Result<bool, Refusal> {
    let signed = signed.checkpoint();
    let found = broker.store.growth().borrow().size();
    Ok(signed.size <= found && broker.store.root(signed.size).await? == signed.root)
}

async fn end_all(broker: &Broker) -> Result<(), Refusal> {
    let filter = SessionFilter { state: Some(SessionPhase::Open), ..SessionFilter::default() };
    let mut below = None;
    loop {
        let page = PageAt { below, size: AT_ONCE };
        let open = broker.store.list_sessions(filter.clone(), page).await?;
        for record in open.rows {
            let ending = SessionEnding::Closed {
                by: Broker::own_name()?,
                reason: Words::new("the store was restored from a backup"),
            };
            broker.store.end_session(record.session.id, ending, broker.clock.now()).await?;
        }
        below = open.next;
        if below.is_none() {
            return Ok(());
        }
    }
}
