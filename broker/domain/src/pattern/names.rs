//! Patterns over names of principals: the one matcher, and the two slashes that it does not know.

use std::fmt;

use super::{Pattern, PatternError};

/// What begins every SPIFFE id.
const SPIFFE: &str = "spiffe://";

/// A pattern over names: `spiffe://acme.dev/agent/*`, `workload:github/acme/*`, `*@acme.dev`.
///
/// A segment glob allows no `//`, so the `spiffe://` is taken off both sides before matching. A
/// pattern with it matches only names with it and the other way round: `**` matches no SPIFFE id.
/// Why: a name that an issuer's claim was allowed to make must never pass for a certificate's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamePattern {
    /// For SPIFFE ids; the pattern is over what follows `spiffe://`.
    Spiffe(Pattern),
    /// For every other name.
    Plain(Pattern),
}

impl NamePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When what is left without `spiffe://` is no pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        match text.strip_prefix(SPIFFE) {
            Some(rest) => Pattern::parse(rest).map(Self::Spiffe),
            None => Pattern::parse(text).map(Self::Plain),
        }
    }

    /// Matches a whole name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match (self, name.strip_prefix(SPIFFE)) {
            (Self::Spiffe(pattern), Some(rest)) => pattern.matches(rest),
            (Self::Plain(pattern), None) => pattern.matches(name),
            (Self::Spiffe(_), None) | (Self::Plain(_), Some(_)) => false,
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(pattern) => write!(f, "{}{pattern}", SPIFFE),
            Self::Plain(pattern) => pattern.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pattern_matches_names_of_its_own_kind_only() {
        for (pattern, name, fits) in [
            ("spiffe://acme.dev/agent/*", "spiffe://acme.dev/agent/one", true),
            ("spiffe://acme.dev/agent/*", "spiffe://acme.dev/agent/one/two", false),
            ("spiffe://acme.dev/agent/*", "acme.dev/agent/one", false),
            ("spiffe://**", "spiffe://acme.dev/agent/one", true),
            ("acme.dev/agent/*", "spiffe://acme.dev/agent/one", false),
            ("**", "spiffe://acme.dev/agent/one", false),
            ("spiffe:*", "spiffe://acme.dev/agent/one", false),
            ("*@acme.dev", "ana@acme.dev", true),
            ("*@acme.dev", "ana@acme.dev.evil.example", false),
        ] {
            assert_eq!(
                NamePattern::parse(pattern).unwrap().matches(name),
                fits,
                "{pattern} on {name}"
            );
        }
        for text in ["spiffe://", "spiffe://a//b", "spiffe://spiffe://a", "a//b", ""] {
            assert!(NamePattern::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_crashes_the_parser_and_each_reads_back(text in "(spiffe://)?\\PC{0,40}") {
            if let Ok(pattern) = NamePattern::parse(&text) {
                prop_assert_eq!(pattern.to_string(), text);
            }
        }
    }
}
