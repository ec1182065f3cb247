//! A store that was put back from a backup: found by a checkpoint outside of it, made harmless, and
//! answered for by an operator before anything is granted again.
//!
//! A backup knows nothing of what was revoked after it. So everything that it holds open ends.

use std::sync::Arc;

use jeton_domain::{audit::Event, merkle::SignedCheckpoint, principal::Role, session::Words};

use super::{Broker, Caller, Refusal};
use crate::store::{Mark, PageAt, SessionEnding, SessionFilter, SessionPhase};

/// Sessions that are ended in one go.
const AT_ONCE: u32 = 256;

/// What lies outside of the store.
#[derive(Debug, Clone)]
pub enum Evidence {
    /// Checkpoints are not copied out.
    Unused,
    /// They are, and none is there.
    Missing,
    /// The newest.
    Copy(SignedCheckpoint),
}

/// Holds the store against checkpoints that were signed before. Call once, before serving.
///
/// # Errors
/// When the store holds other entries than were signed for, or can't be read.
pub async fn find(broker: &Broker, evidence: &Evidence) -> Result<bool, Refusal> {
    let own = super::receipt::newest(broker).await?;
    if let Some(own) = own
        && !holds(broker, &own).await?
    {
        return Err(Refusal::Internal(
            "the store's log is not the one that its own checkpoint was signed for: somebody changed it; `jeton audit verify` tells where".into(),
        ));
    }
    let signed = match evidence {
        Evidence::Unused => return Ok(false),
        // Why: whoever puts a store back could take the copy away with it.
        Evidence::Missing => broker.store.mark(Mark::Copied).await?,
        Evidence::Copy(copy) if holds(broker, copy).await? => return Ok(false),
        Evidence::Copy(copy) => Some(copy.checkpoint().size),
    };
    let Some(signed) = signed else { return Ok(false) };
    found(broker, signed).await?;
    Ok(true)
}

/// Stops granting and ends what is open: the log once had so many entries, and they are not these.
///
/// # Errors
/// When it can't be recorded; nothing is granted even so.
pub async fn found(broker: &Broker, signed: u64) -> Result<(), Refusal> {
    broker.halt.set_restored(Some(signed));
    let event = Event::RestoreFound { signed, found: broker.store.growth().borrow().size() };
    broker.store.append(event, broker.clock.now()).await?;
    forget_keys(broker).await?;
    end_all(broker).await
}

/// Signs with another key from now on, and publishes no older one. Why: grants that were issued after
/// the backup was made are not in it, revoked ones among them, and nobody could take them back.
async fn forget_keys(broker: &Broker) -> Result<(), Refusal> {
    let (keys, now) = (Arc::clone(&broker.keys), broker.clock.now());
    let replaced = tokio::task::spawn_blocking(move || keys.replace(now)).await;
    let kid = replaced.map_err(|error| Refusal::Internal(error.to_string()))?.map_err(|error| {
        Refusal::Internal(format!("the signing key can't be replaced: {error}"))
    })?;
    broker.store.append(Event::KeyRotated { kid }, broker.clock.now()).await?;
    Ok(())
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
    let Some(signed) = broker.halt.restored() else {
        return Err(Refusal::State("no restored store waits to be acknowledged".into()));
    };
    let event = Event::RestoreAcknowledged { by: caller.principal.id.clone(), reason };
    broker.store.append(event, broker.clock.now()).await?;
    broker.store.record_mark(Mark::Acknowledged, signed).await?;
    broker.halt.set_restored(None);
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
