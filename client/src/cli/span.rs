//! Spans of time: as people type them (`90s`, `15m`, `8h`, `2d`) and as they read them.

use std::time::Duration;

/// Why a text is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a span of time; write `90s`, `15m`, `8h` or plain seconds, up to a year")]
pub struct SpanError(String);

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const LONGEST: u64 = 366 * DAY;

/// Reads a span: a whole number and one unit, or plain seconds. Zero is none.
///
/// # Errors
/// When it is anything else, or longer than a year.
pub fn parse(text: &str) -> Result<Duration, SpanError> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (text.get(..at), 1),
        Some((at, 'm')) => (text.get(..at), MINUTE),
        Some((at, 'h')) => (text.get(..at), HOUR),
        Some((at, 'd')) => (text.get(..at), DAY),
        Some(_) | None => (Some(text), 1),
    };
    number
        // Why not `parse` alone: it takes `+5`.
        .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|number| number.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(unit))
        .filter(|seconds| (1..=LONGEST).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| SpanError(text.chars().take(40).collect()))
}

/// Tells a time in milliseconds as seen from now: `in 9m`, `3m ago`.
#[must_use]
pub fn relative(now: i64, then: i64) -> String {
    let seconds = nearest(now.abs_diff(then), 1000);
    match (seconds, then >= now) {
        (0, _) => "now".to_owned(),
        (_, true) => format!("in {}", short(seconds)),
        (_, false) => format!("{} ago", short(seconds)),
    }
}

/// Tells a number of seconds in its largest unit, rounded to the nearest.
#[must_use]
pub fn short(seconds: u64) -> String {
    if seconds >= 2 * DAY {
        format!("{}d", nearest(seconds, DAY))
    } else if seconds >= 2 * HOUR {
        format!("{}h", nearest(seconds, HOUR))
    } else if seconds >= 2 * MINUTE {
        format!("{}m", nearest(seconds, MINUTE))
    } else {
        format!("{seconds}s")
    }
}

/// Why: just after a span of 8 hours began, 7 hours and 59 minutes are left of it.
fn nearest(amount: u64, unit: u64) -> u64 {
    amount.saturating_add(unit / 2) / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_type_them() {
        for (text, seconds) in
            [("90s", 90), ("15m", 900), ("8h", 28_800), ("2d", 172_800), ("600", 600), ("1", 1)]
        {
            assert_eq!(parse(text).unwrap().as_secs(), seconds, "{text}");
        }
    }

    #[test]
    fn odd_spans_are_refused_and_the_error_says_how_to_write_one() {
        for text in [
            "",
            "s",
            "m",
            "0",
            "0s",
            "-5m",
            "+5m",
            "1.5h",
            "5 m",
            " 5m",
            "5M",
            "5min",
            "1h30m",
            "é",
            "5é",
            "99999999999999999999",
            "18446744073709551615d",
            "367d",
            "٥m",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(
            parse("soon").unwrap_err().to_string(),
            "`soon` is not a span of time; write `90s`, `15m`, `8h` or plain seconds, up to a year"
        );
    }

    #[test]
    fn times_are_told_as_seen_from_now() {
        let minutes = |n: i64| n * 60_000;
        assert_eq!(relative(0, minutes(9)), "in 9m");
        assert_eq!(relative(minutes(3), 0), "3m ago");
        assert_eq!(relative(0, 90_000), "in 90s");
        assert_eq!(relative(0, minutes(8 * 60) - 90), "in 8h");
        assert_eq!(relative(0, minutes(140)), "in 2h");
        assert_eq!(relative(0, minutes(3 * 24 * 60)), "in 3d");
        assert_eq!(relative(5, 5), "now");
        assert_eq!(relative(i64::MIN, i64::MAX), "in 213503982335d");
    }
}
