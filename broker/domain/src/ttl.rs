//! Points in time and lengths of life. Nobody here reads a clock.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A time so late that nothing reaches it.
    pub const NEVER: Self = Self(i64::MAX);

    /// From milliseconds since 1970.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since 1970, as JWTs count.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time `ttl` later.
    #[must_use]
    pub fn plus(self, ttl: Ttl) -> Self {
        Self(self.0.saturating_add(i64::from(ttl.seconds()).saturating_mul(1000)))
    }

    /// Whole seconds from here until `later`; `None` if less than one is left.
    #[must_use]
    pub fn until(self, later: Self) -> Option<Ttl> {
        let seconds = later.0.saturating_sub(self.0).div_euclid(1000);
        let seconds = u32::try_from(seconds.clamp(0, i64::from(u32::MAX))).ok()?;
        Ttl::from_seconds(seconds)
    }
}

/// A length of life in whole seconds, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ttl(NonZeroU32);

impl Ttl {
    /// `None` for zero: a life without length is a mistake, not a default.
    #[must_use]
    pub fn from_seconds(seconds: u32) -> Option<Self> {
        NonZeroU32::new(seconds).map(Self)
    }

    /// Seconds, at least 1.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_rounded_down_and_never_zero() {
        let now = Timestamp::from_millis(10_000);
        assert_eq!(now.until(Timestamp::from_millis(12_999)), Ttl::from_seconds(2));
        assert_eq!(now.until(Timestamp::from_millis(10_999)), None);
        assert_eq!(now.until(Timestamp::from_millis(0)), None);
        assert_eq!(now.until(Timestamp::NEVER), Ttl::from_seconds(u32::MAX));
    }
}
