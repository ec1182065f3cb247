//! Times and lengths between the wire, the caller and JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serializer;

/// A time of the wire; one before 1970 or beyond the calendar counts as absent.
pub(crate) fn from_wire(time: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    let time = time?;
    let since = Duration::new(
        u64::try_from(time.seconds).ok()?,
        u32::try_from(time.nanos)
            .ok()
            .filter(|nanos| *nanos < 1_000_000_000)?,
    );
    let time = UNIX_EPOCH.checked_add(since)?;
    jiff::Timestamp::try_from(time).is_ok().then_some(time)
}

/// Whole seconds, at least one: zero would ask for the longest.
pub(crate) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)
}

/// RFC 3339, or nothing.
pub(crate) fn as_text<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time.and_then(|time| jiff::Timestamp::try_from(time).ok()) {
        Some(time) => serializer.collect_str(&time),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_calendar_holds_is_absent() {
        let at = |seconds, nanos| from_wire(Some(prost_types::Timestamp { seconds, nanos }));
        assert_eq!(
            at(2, 5),
            Some(UNIX_EPOCH + Duration::new(2, 5)),
            "the positive control"
        );
        for (seconds, nanos) in [(-1, 0), (i64::MAX, 0), (1, -1), (1, 1_000_000_000)] {
            assert_eq!(at(seconds, nanos), None, "{seconds} {nanos}");
        }
    }
}
