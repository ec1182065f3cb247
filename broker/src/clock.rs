//! The one clock. Only `operation` and `app` hold it; everything else gets the time as an argument.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use jeton_domain::ttl::{Timestamp, Ttl};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now. Never earlier than an answer before.
    fn now(&self) -> Timestamp;
}

/// The machine's clock, held against going back.
///
/// It moves at least as fast as the monotonic clock since the process began and jumps forward with
/// the wall clock, so that no jump makes a grant live longer.
pub struct SystemClock {
    began: Instant,
    floor: AtomicI64,
    origin: i64,
}

impl SystemClock {
    /// Starts no earlier than `floor`, the last time that the store knows of.
    #[must_use]
    pub fn starting_at(floor: Timestamp) -> Self {
        let origin = wall_millis().max(floor.millis());
        Self { began: Instant::now(), floor: AtomicI64::new(origin), origin }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let now = wall_millis().max(self.origin.saturating_add(elapsed));
        let before = self.floor.fetch_max(now, Ordering::Relaxed);
        Timestamp::from_millis(now.max(before))
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_millis() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

/// A clock that stands still until it is moved: a year of leases in a millisecond.
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts at a time.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        Self(AtomicI64::new(time.millis()))
    }

    /// Moves on.
    pub fn advance(&self, ttl: Ttl) {
        self.0.fetch_add(i64::from(ttl.seconds()) * 1000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}
