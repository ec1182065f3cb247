//! The one matcher: segment globs that match whole texts only.
//!
//! `*` stands for any characters within one segment, `**` as a whole segment for one or more
//! segments; segments are divided by `/`. There is no alternation, no class, no escape, no regex.

mod names;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    id::{SessionId, quote},
    limits::PATTERN_CHARS,
};

pub use self::names::NamePattern;

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(Arc<str>);

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing was given: an absent limit must be absent, not empty.
    #[error("a pattern may not be empty; leave it out, or write `**` for everything")]
    Empty,
    /// Longer than any real name.
    #[error("the pattern is longer than {PATTERN_CHARS} characters")]
    TooLong,
    /// A character that no name holds.
    #[error(
        "the pattern `{0}` holds a character that is not allowed; letters, digits and . _ - + @ : = ~ / * are"
    )]
    Character(String),
    /// `//`, a leading or a trailing `/`, `.` or `..`.
    #[error("the pattern `{0}` has an empty, `.` or `..` segment")]
    Segment(String),
    /// `**` beside other characters would read as something it is not.
    #[error("`**` must stand alone between slashes in `{0}`")]
    DoubleStar(String),
}

impl Pattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// When it is empty, too long, holds a strange character or an empty segment.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > PATTERN_CHARS {
            return Err(PatternError::TooLong);
        }
        if !text.bytes().all(|byte| is_name_byte(byte) || byte == b'/' || byte == b'*') {
            return Err(PatternError::Character(quote(text)));
        }
        for segment in text.split('/') {
            if matches!(segment, "" | "." | "..") {
                return Err(PatternError::Segment(quote(text)));
            }
            if segment != "**" && segment.contains("**") {
                return Err(PatternError::DoubleStar(quote(text)));
            }
        }
        Ok(Self(text.into()))
    }

    /// The one spelling of all that differ in case alone.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }

    /// Everything in a session's part of a folder, which is a name.
    #[must_use]
    pub(crate) fn all_below(folder: &'static str, id: SessionId) -> Self {
        Self(format!("{folder}/{id}/**").into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether it stands for just one text.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Matches a whole text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        // Why: a `*` in a name must not be read as a wildcard of the narrower side.
        !text.contains('*') && segments_within(&split(&self.0), &split(text))
    }

    /// Tells whether every text that `self` matches, `wider` matches too.
    ///
    /// Sound, not complete: a wildcard of `self` is swallowed only by one of `wider` that is at
    /// least as strong, so that "yes" is always true and some odd "no" stays possible.
    #[must_use]
    pub fn is_within(&self, wider: &Self) -> bool {
        segments_within(&split(&wider.0), &split(&self.0))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;
    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::parse(&text)
    }
}

/// Characters that names and patterns share.
pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-+@:=~".contains(&byte)
}

fn split(text: &str) -> Vec<&str> {
    text.split('/').collect()
}

/// Both tables below are filled from the end, so that the work is at most `wide × narrow` steps
/// whatever the input: no backtracking that a hostile pattern could blow up.
fn segments_within(wide: &[&str], narrow: &[&str]) -> bool {
    glob(wide.len(), narrow.len(), |w, n| {
        let (wide, narrow) =
            (wide.get(w).copied().unwrap_or(""), narrow.get(n).copied().unwrap_or(""));
        match (wide, narrow) {
            ("**", _) => Step::OneOrMore,
            (_, "**") => Step::No,
            _ => Step::one(segment_within(wide.as_bytes(), narrow.as_bytes())),
        }
    })
}

fn segment_within(wide: &[u8], narrow: &[u8]) -> bool {
    // Why: an empty segment is no name; `agent/*` must not match `agent/`.
    !narrow.is_empty()
        && glob(wide.len(), narrow.len(), |w, n| match (wide.get(w), narrow.get(n)) {
            (Some(b'*'), _) => Step::Any,
            (Some(a), Some(b)) => Step::one(a == b),
            (None, _) | (_, None) => Step::No,
        })
}

enum Step {
    No,
    One,
    Any,
    OneOrMore,
}

impl Step {
    fn one(yes: bool) -> Self {
        if yes { Self::One } else { Self::No }
    }
}

/// Fills the table `fits[w][n]`: the rest of the pattern from `w` fits the rest of the text from `n`.
fn glob(wide: usize, narrow: usize, step: impl Fn(usize, usize) -> Step) -> bool {
    let mut below = vec![false; narrow + 1];
    if let Some(end) = below.last_mut() {
        *end = true;
    }
    for w in (0..wide).rev() {
        let mut row = vec![false; narrow + 1];
        let at = |row: &[bool], n: usize| row.get(n).copied().unwrap_or(false);
        for n in (0..=narrow).rev() {
            let fits = match step(w, n) {
                Step::No => false,
                Step::One => n < narrow && at(&below, n + 1),
                Step::Any => at(&below, n) || (n < narrow && at(&row, n + 1)),
                Step::OneOrMore => n < narrow && (at(&below, n + 1) || at(&row, n + 1)),
            };
            if let Some(cell) = row.get_mut(n) {
                *cell = fits;
            }
        }
        below = row;
    }
    below.first().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn a_star_stays_in_its_segment_and_two_cross_segments() {
        for (wide, text, fits) in [
            ("agent/*", "agent/fix-1", true),
            ("agent/*", "agent/", false),
            ("agent/*", "agent/a/b", false),
            ("agent/*", "xagent/a", false),
            ("agent/**", "agent/a/b", true),
            ("agent/**", "agent", false),
            ("**", "a/b/c", true),
            ("main", "main-x", false),
            ("main", "xmain", false),
            ("m*n", "main", true),
            ("m*n", "mn", true),
            ("a/**/z", "a/z", false),
            ("a/**/z", "a/b/z", true),
            ("main", "Main", false),
            ("*", "a*", false),
        ] {
            assert_eq!(pattern(wide).matches(text), fits, "{wide} on {text}");
        }
    }

    #[test]
    fn tricks_of_other_languages_are_no_patterns() {
        for text in [
            "a|b", "^a$", "x)|(", "a\nb", "a b", "é", "a//b", "/a", "a/", "..", "a/../b", "a**",
            "", "a%2fb", "[a]", "a?b", "a\\b",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_pattern_lies_within_another_only_if_all_its_texts_do() {
        for (narrow, wide, within) in [
            ("agent/x", "agent/*", true),
            ("agent/*", "agent/*", true),
            ("agent/*", "agent/**", true),
            ("agent/**", "agent/*", false),
            ("*", "agent", false),
            ("a*", "*", true),
            ("*", "a*", false),
            ("*-x", "*", true),
            ("**", "*", false),
            ("*", "**", true),
        ] {
            assert_eq!(pattern(narrow).is_within(&pattern(wide)), within, "{narrow} in {wide}");
        }
    }

    #[test]
    fn a_catastrophic_pattern_costs_no_more_than_its_size() {
        let wide = pattern(&format!("{}b", "*a".repeat(120)));
        assert!(!wide.matches(&"a".repeat(250)));
    }

    proptest! {
        #[test]
        fn no_text_crashes_the_parser(text in "\\PC{0,300}") {
            let _ = Pattern::parse(&text);
        }

        #[test]
        fn within_never_lies(
            narrow in "([ab*]{1,3}|\\*\\*)(/([ab*]{1,3}|\\*\\*)){0,3}",
            wide in "([ab*]{1,3}|\\*\\*)(/([ab*]{1,3}|\\*\\*)){0,3}",
            text in "[ab]{1,3}(/[ab]{1,3}){0,3}",
        ) {
            if let (Ok(narrow), Ok(wide)) = (Pattern::parse(&narrow), Pattern::parse(&wide))
                && narrow.is_within(&wide)
                && narrow.matches(&text)
            {
                prop_assert!(wide.matches(&text));
            }
        }
    }
}
