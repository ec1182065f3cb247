//! What one push may cost: requests to its upstream, bytes of its answers, and the broker's time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use jeton_git::limits::{PUSH_ANSWER_BYTES, PUSH_CALLS, PUSH_SECONDS};
use tokio::time::{Instant, timeout};

use crate::gateway::readers::TimeLeft;

/// The budget of one push. Dropped, it stops the work for it.
pub(super) struct PushBudget {
    calls: AtomicU32,
    bytes: AtomicU64,
    time: Arc<TimeLeft>,
}

/// A push costs too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OverBudget {
    /// Requests.
    #[error("the push needs more requests to its upstream than one push gets; push in parts")]
    Calls,
    /// Bytes.
    #[error(
        "the push needs more than {PUSH_ANSWER_BYTES} bytes of its upstream's history; push in parts"
    )]
    Bytes,
    /// Time.
    #[error("the push takes more than {PUSH_SECONDS} s of the broker's time; push in parts")]
    Time,
}

impl Default for PushBudget {
    fn default() -> Self {
        Self {
            calls: AtomicU32::new(PUSH_CALLS),
            bytes: AtomicU64::new(PUSH_ANSWER_BYTES),
            time: TimeLeft::of(Duration::from_secs(PUSH_SECONDS)),
        }
    }
}

impl Drop for PushBudget {
    fn drop(&mut self) {
        self.time.give_up();
    }
}

impl PushBudget {
    /// The time that is left.
    pub fn time(&self) -> &Arc<TimeLeft> {
        &self.time
    }

    /// Allows a request more for each commit of the upstream on which the push rests.
    pub fn allow_for(&self, edges: usize) {
        let more = u32::try_from(edges).unwrap_or(u32::MAX);
        let less = |calls: u32| Some(calls.saturating_add(more));
        // Why ignored: the function always gives a value.
        let _ = self.calls.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Takes a request.
    ///
    /// # Errors
    /// When there is none left.
    pub fn take_call(&self) -> Result<(), OverBudget> {
        let taken = self
            .calls
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |calls| calls.checked_sub(1));
        taken.map(|_| ()).map_err(|_| OverBudget::Calls)
    }

    /// Takes bytes of an answer.
    ///
    /// # Errors
    /// When there are not as many left.
    pub fn take_bytes(&self, bytes: usize) -> Result<(), OverBudget> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let taken = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(bytes));
        taken.map(|_| ()).map_err(|_| OverBudget::Bytes)
    }

    /// Waits for the upstream.
    ///
    /// # Errors
    /// When the time is over.
    pub async fn timed<T>(&self, waiting: impl Future<Output = T>) -> Result<T, OverBudget> {
        let begun = Instant::now();
        let done = timeout(self.time.left(), waiting).await;
        self.time.spend(begun.elapsed());
        done.map_err(|_| OverBudget::Time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_kind_of_cost_ends_with_an_error_of_its_own() {
        let budget = PushBudget::default();
        budget.allow_for(40);
        for _ in 0..PUSH_CALLS + 40 {
            assert_eq!(budget.take_call(), Ok(()));
        }
        assert_eq!(budget.take_call(), Err(OverBudget::Calls));
        let most = usize::try_from(PUSH_ANSWER_BYTES).unwrap();
        assert_eq!(budget.take_bytes(most), Ok(()));
        assert_eq!(budget.take_bytes(1), Err(OverBudget::Bytes));
        // The time that was spent before counts, for work and for waiting alike.
        budget.time().spend(Duration::from_secs(PUSH_SECONDS) - Duration::from_millis(20));
        assert_eq!(budget.timed(std::future::ready(1)).await, Ok(1));
        assert_eq!(budget.timed(std::future::pending::<()>()).await, Err(OverBudget::Time));
    }
}
