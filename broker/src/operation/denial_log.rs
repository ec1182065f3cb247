//! Records denials and failed authentication within the log budget of whoever answers for them.
//!
//! The answer to the caller never depends on how its denial is recorded. After a crash, at most the
//! counts of the current minute are lost to the log; metrics counted them all.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jeton_domain::{
    accountable::AccountableSubject,
    audit::{DenialBudget, Event, Recording, Summary},
    principal::PrincipalId,
    session::Words,
    ttl::Timestamp,
};
use tokio::sync::Notify;

use super::{Broker, Refusal};
use crate::store::SessionRecord;

/// What is not written yet.
#[derive(Default)]
struct Unwritten {
    budget: DenialBudget,
    /// Failed authentications that are written whole. Bounded by the budget. Why not written by
    /// the call itself: a caller that proved nothing must not wait for the disk, nor hold a slot.
    failures: Vec<(AccountableSubject, Event)>,
}

/// Denials that have no entry yet.
#[derive(Default)]
pub struct DenialLog {
    unwritten: Mutex<Unwritten>,
    added: Notify,
}

impl DenialLog {
    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a failed authentication waits to be written.
    pub async fn added(&self) {
        self.added.notified().await;
    }
}

/// Who answers for the requests of a session: the creator of the first session of its tree.
///
/// # Errors
/// When the store can't read that session.
pub async fn accountable(
    broker: &Broker,
    record: &SessionRecord,
) -> Result<AccountableSubject, Refusal> {
    Ok(AccountableSubject::Tree(creator(broker, record).await?))
}

/// The creator of the first session of a session's tree.
///
/// # Errors
/// When the store can't read that session.
pub async fn creator(broker: &Broker, record: &SessionRecord) -> Result<PrincipalId, Refusal> {
    match record.session.chain.links().first() {
        None => Ok(record.session.opener.clone()),
        Some(root) => Ok(broker.store.session(root.session).await?.session.opener.clone()),
    }
}

/// Records a denial: in the log before this returns, or in the next summary of its subject.
///
/// # Errors
/// When it must be written and can't be.
pub async fn record_denial(
    broker: &Broker,
    subject: &AccountableSubject,
    event: Event,
    now: Timestamp,
) -> Result<(), Refusal> {
    let recording = broker.denials.unwritten().budget.admit(subject, &event, now);
    broker.metrics.denial_recorded(recording);
    match recording {
        Recording::Whole => Ok(broker.store.append(event, now).await?),
        Recording::Counted => Ok(()),
    }
}

/// Records that a caller did not prove who it is, or that its session token was rejected. It is
/// written within moments.
pub fn record_failure(
    broker: &Broker,
    subject: &AccountableSubject,
    reason: &'static str,
    path: &str,
) {
    broker.metrics.sign_in_failed(reason);
    tracing::info!(%subject, reason, path, "a caller could not prove who it is");
    let event = Event::SignInFailed {
        reason: Words::new(reason),
        count: 1,
        subject: Some(subject.clone()),
    };
    let mut unwritten = broker.denials.unwritten();
    let recording = unwritten.budget.admit(subject, &event, broker.clock.now());
    if recording == Recording::Whole {
        unwritten.failures.push((subject.clone(), event));
        broker.denials.added.notify_one();
    }
    drop(unwritten);
    broker.metrics.denial_recorded(recording);
}

/// Writes failed authentications, and the summaries whose minute has passed.
///
/// # Errors
/// When the store can't write; what is left is written later.
pub async fn write_due(broker: &Broker) -> Result<(), Refusal> {
    let now = broker.clock.now();
    let (failures, summaries) = {
        let mut unwritten = broker.denials.unwritten();
        (std::mem::take(&mut unwritten.failures), unwritten.budget.take_due(now))
    };
    write(broker, failures, summaries).await
}

/// Writes all that is left, before the broker stops.
///
/// # Errors
/// When the store can't write: then it is lost to the log.
pub async fn write_all(broker: &Broker) -> Result<(), Refusal> {
    let (failures, summaries) = {
        let mut unwritten = broker.denials.unwritten();
        (std::mem::take(&mut unwritten.failures), unwritten.budget.take_all())
    };
    write(broker, failures, summaries).await
}

async fn write(
    broker: &Broker,
    failures: Vec<(AccountableSubject, Event)>,
    summaries: Vec<Summary>,
) -> Result<(), Refusal> {
    let mut outcome = Ok(());
    for (subject, event) in failures {
        let now = broker.clock.now();
        if outcome.is_ok() {
            outcome = broker.store.append(event.clone(), now).await;
        }
        if outcome.is_err() {
            broker.denials.unwritten().budget.count(&subject, &event, now);
        }
    }
    for summary in summaries {
        let now = broker.clock.now();
        if outcome.is_ok() {
            outcome = broker.store.append(summary.event(), now).await;
        }
        if outcome.is_err() {
            broker.denials.unwritten().budget.put_back(summary, now);
        }
    }
    Ok(outcome?)
}
