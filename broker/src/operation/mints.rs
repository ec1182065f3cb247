//! Mints under way: tasks of their own, counted, and awaited when the broker stops.
//!
//! Why of their own: a caller that goes away must not stop a mint between the upstream's answer and
//! its record. Why counted: that caller's place is free again while its mint goes on.

use tokio_util::task::TaskTracker;

use super::Refusal;
use crate::{
    capacity::{Capacity, Shares, SlotHolder},
    limits::MINTS_AT_ONCE,
    store::StoreError,
};

/// The mints under way.
pub struct Mints {
    tasks: TaskTracker,
    slots: Capacity,
}

impl Mints {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self { tasks: TaskTracker::new(), slots: Capacity::new(Shares::halved(MINTS_AT_ONCE)) }
    }

    /// Runs a mint to its end, even if the caller stops waiting for it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        subject: &SlotHolder,
        mint: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let slot = self.slots.take(subject).ok_or(StoreError::Busy)?;
        let work = async move {
            let done = mint.await;
            drop(slot);
            done
        };
        self.tasks.spawn(work).await.map_err(|error| Refusal::Internal(error.to_string()))?
    }

    /// Waits until every mint is recorded. Call after the last request was taken.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Default for Mints {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jeton_domain::principal::PrincipalId;

    use super::*;

    fn subject(name: &str) -> SlotHolder {
        SlotHolder::principal(&PrincipalId::parse(name).unwrap())
    }

    #[tokio::test]
    async fn a_mint_goes_on_without_its_caller_and_a_stop_waits_for_it() {
        let mints = Arc::new(Mints::new());
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let (begun, beginning) = tokio::sync::oneshot::channel::<()>();
        let (tell, told) = tokio::sync::oneshot::channel();
        let of = Arc::clone(&mints);
        let caller = tokio::spawn(async move {
            of.run(&subject("ana"), async move {
                let _ = begun.send(());
                let _ = finished.await;
                let _ = tell.send("recorded");
                Ok(())
            })
            .await
        });
        beginning.await.unwrap();
        caller.abort();
        let stop = tokio::spawn(async move { mints.finished().await });
        assert!(!stop.is_finished());
        finish.send(()).unwrap();
        stop.await.unwrap();
        assert_eq!(told.await.unwrap(), "recorded");
    }

    #[tokio::test]
    async fn one_caller_with_too_many_mints_is_refused_and_another_is_not() {
        let mints = Mints::new();
        let ana = subject("ana");
        let held: Vec<_> = std::iter::from_fn(|| mints.slots.take(&ana)).collect();
        assert!(held.len() <= MINTS_AT_ONCE / 2);
        let refused = mints.run(&ana, async { Ok(()) }).await;
        assert!(matches!(refused, Err(Refusal::Store(StoreError::Busy))));
        mints.run(&subject("bob"), async { Ok(()) }).await.unwrap();
        drop(held);
        mints.run(&ana, async { Ok(()) }).await.unwrap();
    }
}
