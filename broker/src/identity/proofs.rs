//! How far into the future the proofs reach that this process took.
//!
//! Used proofs are remembered in memory. The next process takes none that was made before it began; but
//! a client whose clock is ahead makes proofs that look younger than that. So before such a proof is
//! taken, the store notes a time that none of them is later than.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jeton_domain::{
    jose::dpop::{ProofError, Proved},
    limits::LEEWAY_SECONDS,
    ttl::Timestamp,
};

use crate::store::{Mark, Store};

/// The latest time that a proof names which was taken, as far as it is noted.
pub struct ProofHorizon {
    store: Option<Arc<dyn Store>>,
    noted: AtomicI64,
}

impl ProofHorizon {
    /// Notes it in a store. Without one it is noted nowhere: where nothing is taken.
    #[must_use]
    pub fn new(store: Option<Arc<dyn Store>>) -> Self {
        Self { store, noted: AtomicI64::new(0) }
    }

    /// Makes sure that the next process refuses a proof. Writes once in so many seconds as clocks may
    /// differ, and only for a clock that is ahead.
    pub(super) async fn note(&self, proved: &Proved, now: Timestamp) -> Result<(), ProofError> {
        let made = proved.made.millis();
        if proved.made <= now || made <= self.noted.load(Ordering::Acquire) {
            return Ok(());
        }
        let Some(store) = &self.store else { return Ok(()) };
        let leeway = i64::try_from(LEEWAY_SECONDS).unwrap_or(0).saturating_mul(1000);
        // Why this, and not what the proof says: the next ones are noted too.
        let until = now.millis().saturating_add(leeway).max(made);
        let value = u64::try_from(until).map_err(|_| ProofError::Unnoted)?;
        store.record_mark(Mark::Proofs, value).await.map_err(|error| {
            tracing::warn!(%error, "it can't be noted how far into the future proofs reach");
            ProofError::Unnoted
        })?;
        self.noted.fetch_max(until, Ordering::Release);
        Ok(())
    }

    /// The time after which a proof must be made that a process takes which begins now.
    ///
    /// # Errors
    /// When the store can't tell.
    pub async fn begin(
        store: &dyn Store,
        is_new: bool,
        now: Timestamp,
    ) -> Result<Timestamp, crate::store::StoreError> {
        // Why none: no process took any before.
        if is_new {
            return Ok(Timestamp::from_millis(0));
        }
        let noted = store.mark(Mark::Proofs).await?.unwrap_or(0);
        Ok(now.max(Timestamp::from_millis(i64::try_from(noted).unwrap_or(i64::MAX))))
    }
}
