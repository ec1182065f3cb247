//! Names on git's wire: objects and refs. A name that this does not take is refused, whatever an upstream
//! would make of it.

use std::fmt;

use jeton_domain::{id::quote, pattern::Pattern};

/// SHA-1 of an object. Zeros stand for "not there".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 20]);

impl ObjectId {
    /// Not there.
    pub const NONE: Self = Self([0; 20]);

    /// Reads 40 digits of hex in lower case.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
            b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
            _ => None,
        };
        let mut id = [0; 20];
        let (pairs, rest) = text.as_chunks::<2>();
        if pairs.len() != id.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(id))
    }

    /// Tells whether it stands for nothing.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&jeton_domain::secret::hex(&self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The whole name of a ref, such as `refs/heads/agent/fix-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(Box<str>);

/// What branches begin with.
const BRANCH: &str = "refs/heads/";

impl RefName {
    /// Checks a name.
    ///
    /// Why narrower than `git check-ref-format`: a name that looks like another, by letters or by
    /// case folding outside ASCII, is nobody's need here and many an attack.
    ///
    /// # Errors
    /// With what to do instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let odd = |why: &str| Err(format!("the ref `{}` {why}", quote(text)));
        let Some(rest) = text.strip_prefix("refs/") else {
            return odd(
                "is no whole name; push to one that begins with refs/, such as refs/heads/agent/fix-1",
            );
        };
        if rest.split('/').count() < 2 {
            return odd("is none that a push may move; push to refs/heads/NAME or refs/tags/NAME");
        }
        // Why by the pattern's parser: what it takes can be compared with patterns, and nothing else can.
        let plain = Pattern::parse(text).is_ok_and(|name| name.is_exact());
        let segment = |segment: &str| {
            !segment.starts_with('.') && !segment.ends_with('.') && !segment.ends_with(".lock")
        };
        let known = text.split('/').all(segment) && !text.contains("..") && !text.contains("@{");
        // Why: git itself takes neither, and `:` and `~` mean something else to it.
        let clean = known && !text.bytes().any(|byte| matches!(byte, b':' | b'~'));
        if plain && clean {
            Ok(Self(text.into()))
        } else {
            odd(
                "holds what no ref should; use letters, digits, . _ - + = and /, and no segment that begins or ends with a dot",
            )
        }
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as scopes have it: of a branch what stands behind `refs/heads/`, of anything else all of it.
    /// Why not of a branch named `refs/tags/v1`: it would read like the tag.
    #[must_use]
    pub fn in_scopes(&self) -> &str {
        match self.0.strip_prefix(BRANCH) {
            Some(branch) if !branch.starts_with("refs/") => branch,
            Some(_) | None => &self.0,
        }
    }

    /// The same as a pattern that matches nothing else.
    #[must_use]
    pub fn pattern(&self) -> Option<Pattern> {
        Pattern::parse(self.in_scopes()).ok().filter(Pattern::is_exact)
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_itself_and_nothing_else_is_one() {
        let text = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(ObjectId::parse(text.as_bytes()).unwrap().to_string(), text);
        for odd in ["", "0123", &text.to_uppercase(), &format!("{text}0"), &text.replace('0', " ")]
        {
            assert_eq!(ObjectId::parse(odd.as_bytes()), None, "{odd}");
        }
        assert!(ObjectId::parse(&[b'0'; 40]).unwrap().is_none());
    }

    #[test]
    fn a_branch_is_named_short_unless_that_would_be_another_refs_name() {
        let short = |text: &str| RefName::parse(text).unwrap().in_scopes().to_owned();
        assert_eq!(short("refs/heads/agent/x"), "agent/x");
        assert_eq!(short("refs/tags/v1"), "refs/tags/v1");
        assert_eq!(short("refs/heads/refs/tags/v1"), "refs/heads/refs/tags/v1");
        assert_eq!(short("refs/pull/1/head"), "refs/pull/1/head");
    }

    #[test]
    fn what_is_odd_is_no_ref_and_the_words_say_what_is() {
        for (text, words) in [
            ("HEAD", "no whole name"),
            ("main", "no whole name"),
            ("refs/", "none that a push may move"),
            ("refs/stash", "none that a push may move"),
            ("refs/heads/", "what no ref should"),
            ("refs/heads/../x", "what no ref should"),
            ("refs/heads/a..b", "what no ref should"),
            ("refs/heads/.git/x", "what no ref should"),
            ("refs/heads/x.lock", "what no ref should"),
            ("refs/heads/x.", "what no ref should"),
            ("refs/heads/agent/*", "what no ref should"),
            ("refs/heads/agent/\u{430}", "what no ref should"),
            ("refs/heads/a b", "what no ref should"),
            ("refs/heads/a@{1}", "what no ref should"),
            ("refs/heads/a:b", "what no ref should"),
            ("refs/heads/a~1", "what no ref should"),
            ("refs/heads/a\u{0}b", "what no ref should"),
            ("refs/heads/a^b", "what no ref should"),
            ("REFS/heads/a", "no whole name"),
        ] {
            let error = RefName::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
