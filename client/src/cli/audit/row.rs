//! How an entry reads: a line for people, an object for programs.

use std::io::{IsTerminal, stdout};

use jeton_client::{EntryInfo, no_color};
use serde_json::{Value, json};

use crate::cli::output::clean;

/// Paints words, if the reader is a person.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    /// On a terminal only, and not where `NO_COLOR` says otherwise (no-color.org).
    #[must_use]
    pub fn for_stdout() -> Self {
        Self(stdout().is_terminal() && !no_color())
    }

    /// Paints a word by how it went.
    #[must_use]
    pub fn outcome(self, outcome: &str, word: &str) -> String {
        let code = match outcome {
            "denied" => "31",
            "failure" => "1;31",
            "pending" => "33",
            _ => "32",
        };
        if self.0 { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
    }

    /// Paints what is beside the point.
    #[must_use]
    pub fn dim(self, word: &str) -> String {
        if self.0 { format!("\x1b[2m{word}\x1b[0m") } else { word.to_owned() }
    }
}

/// One line.
#[must_use]
pub fn line(entry: &EntryInfo, paint: Paint) -> String {
    let index = format!("{:>7}", entry.index);
    let event = format!("{:<18}", clean(&entry.event));
    format!(
        "{}  {}  {}  {}\n",
        paint.dim(&index),
        time(entry.at),
        paint.outcome(&entry.outcome, &event),
        clean(&entry.line)
    )
}

/// One object, the entry as it is stored within it.
#[must_use]
pub fn object(entry: &EntryInfo) -> Value {
    let stored: Value = serde_json::from_str(&entry.text).unwrap_or(Value::Null);
    json!({
        "index": entry.index,
        "at": entry.at,
        "event": entry.event,
        "outcome": entry.outcome,
        "line": entry.line,
        "entry": stored,
    })
}

/// A time in UTC, to the millisecond.
#[must_use]
pub fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| millis.to_string(), |time| format!("{time:.3}"))
}
