//! The one place that writes to standard output and standard error; `jeton mcp` alone hands standard
//! output to its protocol.
//!
//! Invariant: text of the broker reaches a terminal only without control characters and marks of
//! text direction. Only [`Output::secret`] and the answer to git carry a secret.

use std::io::{self, ErrorKind, Write};

use comfy_table::{Table, presets};
use jeton_domain::id::unprintable;
use serde::Serialize;

use super::failure::Failure;

/// How a command tells its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Tables for people.
    Tables,
    /// JSON for programs.
    Json,
}

impl Output {
    /// Writes a result: the value as JSON, or else the text for people.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn result<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self {
            Self::Tables => raw(text().as_bytes()),
            Self::Json => raw(json(value)?.as_bytes()),
        }
    }

    /// Writes a result that holds a secret. People get the secret alone on standard output, so that
    /// `$(…)` takes just it, and the rest on standard error.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn secret<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce() -> String,
        secret: &str,
    ) -> Result<(), Failure> {
        match self {
            Self::Tables => {
                note(&text());
                raw(format!("{secret}\n").as_bytes())
            }
            Self::Json => raw(json(value)?.as_bytes()),
        }
    }

    /// Writes why a command failed.
    pub fn failure(self, failure: &Failure) {
        match self {
            Self::Tables => note(&failure.text()),
            Self::Json => {
                if let Ok(text) = json(&failure.json()) {
                    // Why ignored: the exit code still tells.
                    let _ = raw(text.as_bytes());
                }
            }
        }
    }
}

/// Writes text that is clean already to standard error.
pub fn note(text: &str) {
    // Why ignored: there is no place left to say it.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes bytes to standard output. A reader that went away has what it wanted.
///
/// # Errors
/// When they can't be written for another reason.
pub fn raw(bytes: &[u8]) -> Result<(), Failure> {
    piece(bytes).map(drop)
}

/// The same for one piece of many: tells whether the reader is still there.
///
/// # Errors
/// As [`raw`].
pub fn piece(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Broken(format!("standard output can't be written: {error}"))),
    }
}

/// One JSON value on a line of its own.
#[must_use]
pub fn line(value: &serde_json::Value) -> String {
    escaped(&value.to_string())
}

/// Shows a text of another's on one line: each unprintable character becomes a space.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if unprintable(c) { ' ' } else { c }).collect()
}

/// Shows an id, which holds nothing but letters, digits and `_` if the broker is what it says.
///
/// Why: ids are shown as parts of commands to paste.
#[must_use]
pub fn code(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// Makes a table of rows under a header.
#[must_use]
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| clean(&cell))));
    trimmed(&table)
}

/// Makes a list of names and values; empty values are left out.
#[must_use]
pub fn list(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let shown = rows.into_iter().filter(|(_, value)| !value.is_empty());
    table.add_rows(shown.map(|(name, value)| [name.to_owned(), clean(&value)]));
    trimmed(&table)
}

fn trimmed(table: &Table) -> String {
    // Every cell starts with one space of padding; as the first character of a line it is in the way.
    table
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end()))
        .collect()
}

fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map(|text| escaped(&text))
        .map_err(|error| Failure::Broken(format!("the result is no JSON: {error}")))
}

/// JSON with a line feed at its end, and in it nothing that changes how a terminal reads it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if unprintable(c) && c != '\n' {
            // Outside of strings JSON has no such character, so it is always within one.
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_no_borders_and_no_control_characters() {
        let rows =
            [["gr_1".to_owned(), "a\x1b[31m\nb".to_owned()], ["gr_22".to_owned(), "c".to_owned()]];
        let text = table(["id", "agent"], rows);
        assert_eq!(text, "id     agent\ngr_1   a [31m b\ngr_22  c\n");
    }

    #[test]
    fn empty_values_are_left_out_of_lists() {
        assert_eq!(list([("id", "gr_1".to_owned()), ("reason", String::new())]), "id  gr_1\n");
    }

    #[test]
    fn json_escapes_what_would_change_how_a_terminal_reads_it() {
        let nasty = "a\u{202e}b\u{9b}c\x7f\n";
        let text = json(&nasty).unwrap_or_default();
        assert_eq!(text, "\"a\\u202eb\\u009bc\\u007f\\n\"\n");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), nasty);
    }

    #[test]
    fn an_id_to_paste_holds_nothing_else() {
        assert_eq!(code("gr_1$(id);`x`"), "gr_1idx");
    }
}
