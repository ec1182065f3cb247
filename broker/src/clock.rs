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

/// The machine's clock, held against going back and against standing still.
///
/// It runs with the monotonic clock since the process began, ahead of it by the largest leap that
/// the wall clock made: a leap forward ends grants early, a leap back changes nothing, and neither
/// makes a grant live longer.
pub struct SystemClock {
    began: Instant,
    origin: i64,
    ahead: AtomicI64,
    floor: AtomicI64,
}

impl SystemClock {
    /// Starts no earlier than `floor`, the last time that the store knows of.
    #[must_use]
    pub fn starting_at(floor: Timestamp) -> Self {
        let origin = wall_millis().max(floor.millis());
        Self {
            began: Instant::now(),
            origin,
            ahead: AtomicI64::new(0),
            floor: AtomicI64::new(origin),
        }
    }

    fn at(&self, elapsed: i64, wall: i64) -> Timestamp {
        let steady = self.origin.saturating_add(elapsed);
        let leap = wall.saturating_sub(steady);
        let ahead = self.ahead.fetch_max(leap, Ordering::Relaxed).max(leap);
        let now = steady.saturating_add(ahead);
        Timestamp::from_millis(now.max(self.floor.fetch_max(now, Ordering::Relaxed)))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.at(elapsed, wall_millis())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_leap_of_the_wall_clock_stops_the_time_or_turns_it_back() {
        let clock = SystemClock::starting_at(Timestamp::from_millis(4_000_000_000_000));
        let wall = 4_000_000_000_000;
        let day = 86_400_000;
        let steps = [(0, 0), (10, 10), (20, day), (30, 30), (1030, 1030), (2030, -day)];
        let times: Vec<i64> = steps
            .iter()
            .map(|(elapsed, leap)| clock.at(*elapsed, wall + leap).millis() - wall)
            .collect();
        assert_eq!(times, [0, 10, day, day + 10, day + 1010, day + 2010]);
    }
}
