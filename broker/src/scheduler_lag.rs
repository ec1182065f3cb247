//! Scheduler lag: how late a task runs after it was due.
//!
//! The number of requests in progress says little about overload: a fast machine serves 2,000 in a fifth of a second, a
//! busy one needs many seconds for them. The lag is the delay that every step of every request suffers, so it is
//! what load shedding looks at.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::limits::LAG_INTERVAL;

/// Measures and holds the lag.
pub struct SchedulerLag {
    origin: Instant,
    /// When the measuring task is due next, in microseconds since `origin`; zero before it runs.
    due: AtomicU64,
    /// The last measured lag, in microseconds.
    last: AtomicU64,
}

impl Default for SchedulerLag {
    fn default() -> Self {
        Self { origin: Instant::now(), due: AtomicU64::new(0), last: AtomicU64::new(0) }
    }
}

impl SchedulerLag {
    /// Measures until `stop`.
    pub async fn measure(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let due = micros(self.origin.elapsed().saturating_add(LAG_INTERVAL));
            self.due.store(due, Ordering::Relaxed);
            sleep(LAG_INTERVAL).await;
            // Why through another thread: what is woken from outside the runtime, such as by the writer of the store,
            // waits in the queue that all workers share, which is the longest under load.
            let _ = spawn_blocking(|| ()).await;
            let late = micros(self.origin.elapsed()).saturating_sub(due);
            self.last.store(late, Ordering::Relaxed);
        }
        self.due.store(0, Ordering::Relaxed);
    }

    /// The lag now: the last measured one, or more if the measuring task is overdue.
    pub fn now(&self) -> Duration {
        let due = self.due.load(Ordering::Relaxed);
        if due == 0 {
            return Duration::ZERO;
        }
        let overdue = micros(self.origin.elapsed()).saturating_sub(due);
        Duration::from_micros(overdue.max(self.last.load(Ordering::Relaxed)))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_blocked_runtime_shows_as_lag_and_an_idle_one_does_not() {
        let lag = Arc::new(SchedulerLag::default());
        assert_eq!(lag.now(), Duration::ZERO, "nothing is measured yet");
        let stop = CancellationToken::new();
        let measuring = tokio::spawn({
            let (lag, stop) = (Arc::clone(&lag), stop.clone());
            async move { lag.measure(stop).await }
        });
        tokio::task::yield_now().await;
        let blocked = Duration::from_millis(300);
        std::thread::sleep(blocked);
        assert!(lag.now() >= blocked - LAG_INTERVAL * 2, "{:?}", lag.now());
        while lag.now() >= Duration::from_millis(200) {
            sleep(LAG_INTERVAL).await;
        }
        stop.cancel();
        measuring.await.unwrap();
        assert_eq!(lag.now(), Duration::ZERO, "nothing is measured any more");
    }
}
