//! Callers that could not prove who they are: counted, and recorded together every few seconds, so
//! that a flood of them fills neither the log nor the disk.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use jeton_domain::{audit::Event, session::Words};

use super::{Broker, Refusal};

/// Failures since the last entry, by reason.
#[derive(Default)]
pub struct SignIns(Mutex<BTreeMap<&'static str, u64>>);

impl SignIns {
    /// One more.
    pub fn failed(&self, reason: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    fn take(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Notes that a caller could not prove who it is.
pub fn note(broker: &Broker, reason: &'static str, path: &str) {
    broker.metrics.sign_in_failed(reason);
    broker.sign_ins.failed(reason);
    tracing::info!(reason, path, "a caller could not prove who it is");
}

/// Writes into the log how many callers failed since the last time.
///
/// # Errors
/// When it can't be recorded; what was counted is then lost to the log and stays in the metrics.
pub async fn record(broker: &Broker) -> Result<(), Refusal> {
    for (reason, count) in broker.sign_ins.take() {
        let event = Event::SignInFailed { reason: Words::new(reason), count };
        broker.store.append(event, broker.clock.now()).await?;
    }
    Ok(())
}
