//! Identifiers: unguessable, typed, and found without an index.
//!
//! An id is 16 bytes: 6 of the row number where the record stands, 10 random. The row makes a
//! look-up one step; the 80 random bits are compared, so that a neighbour's id can't be guessed.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::secret::same_bytes;

/// Crockford's base32: no letters that people mistake for digits.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters that 16 bytes take in base32.
const TEXT_CHARS: usize = 26;
/// Rows that fit into six bytes.
const ROW_MAX: u64 = (1 << 48) - 1;

/// Where a record stands in its table, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Row(u64);

impl Row {
    /// The lowest.
    pub const FIRST: Self = Self(1);

    /// `None` for zero and for rows that an id can't hold.
    #[must_use]
    pub fn new(row: u64) -> Option<Self> {
        (1..=ROW_MAX).contains(&row).then_some(Self(row))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

/// Ten random bytes that make an id unguessable.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(pub [u8; 10]);

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a {kind} id; such an id is `{prefix}_` and 26 letters or digits")]
pub struct IdError {
    given: String,
    kind: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name { row: Row, tag: Tag }

        impl $name {
            /// Joins the row of a record with fresh random bytes.
            #[must_use]
            pub fn new(row: Row, tag: Tag) -> Self {
                Self { row, tag }
            }

            /// Where the record stands.
            #[must_use]
            pub fn row(&self) -> Row {
                self.row
            }

            /// The random part, as stored beside the record.
            #[must_use]
            pub fn tag(&self) -> Tag {
                self.tag
            }

            /// Reads the text form. Strict: one text for each id.
            ///
            /// # Errors
            /// When the text is not exactly the prefix, `_` and 26 base32 characters.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(|(row, tag)| Self { row, tag })
                    .ok_or_else(|| IdError { given: quote(text), kind: $kind, prefix: $prefix })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                encode(self.row, self.tag, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }
    };
}

id!(
    /// Names one session.
    SessionId, "session", "se"
);
id!(
    /// Names one grant.
    GrantId, "grant", "gr"
);

impl Tag {
    /// Compares without telling where they differ.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        same_bytes(&self.0, &other.0)
    }
}

/// A client-chosen key that makes a retry safe: 1 to 64 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(String);

impl RequestId {
    /// Reads one.
    ///
    /// # Errors
    /// When it is empty, too long or holds anything but visible ASCII.
    pub fn parse(text: &str) -> Result<Self, RequestIdError> {
        let fits = (1..=crate::limits::REQUEST_ID_CHARS).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RequestIdError)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no request id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a request id is 1 to 64 visible ASCII characters, such as a UUID")]
pub struct RequestIdError;

/// Writes the base32 part without allocating: ids stand several times in every entry.
fn encode(row: Row, tag: Tag, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let bits = join(row, tag);
    let mut text = [0; TEXT_CHARS];
    for (place, letter) in text.iter_mut().rev().enumerate() {
        let five = usize::try_from((bits >> (place * 5)) & 31).unwrap_or_default();
        *letter = ALPHABET.get(five).copied().unwrap_or(b'0');
    }
    f.write_str(str::from_utf8(&text).unwrap_or_default())
}

fn decode(text: &str) -> Option<(Row, Tag)> {
    // Why: 26 × 5 = 130 bits; a first character above 7 would overflow and give two texts for one id.
    if text.len() != TEXT_CHARS || text.bytes().next()? > b'7' {
        return None;
    }
    let mut bits = 0_u128;
    for byte in text.bytes() {
        let five = ALPHABET.iter().position(|letter| *letter == byte)?;
        bits = (bits << 5) | u128::try_from(five).ok()?;
    }
    let row = Row::new(u64::try_from(bits >> 80).ok()?)?;
    let mut tag = [0; 10];
    for (to, from) in tag.iter_mut().zip(bits.to_be_bytes().iter().skip(6)) {
        *to = *from;
    }
    Some((row, Tag(tag)))
}

fn join(row: Row, tag: Tag) -> u128 {
    let low = tag.0.iter().fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
    (u128::from(row.0) << 80) | low
}

/// The user's input for an error text: bounded, control characters replaced.
#[must_use]
pub fn quote(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String =
        text.chars().take(SHOWN).map(|c| if unprintable(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Control characters and the bidirectional marks that make a text read as another.
#[must_use]
pub fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_reads_back_as_itself(row in 1_u64..=ROW_MAX, tag: [u8; 10]) {
            let id = GrantId::new(Row::new(row).unwrap(), Tag(tag));
            prop_assert_eq!(GrantId::parse(&id.to_string()).unwrap(), id);
        }

        #[test]
        fn no_text_crashes_the_parser_and_none_has_two_spellings(text in "(gr_)?[0-9a-z]{0,30}|\\PC*") {
            if let Ok(id) = GrantId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn a_grant_id_is_no_session_id_and_the_error_says_what_one_looks_like() {
        let id = GrantId::new(Row::new(7).unwrap(), Tag([9; 10])).to_string();
        let error = SessionId::parse(&id).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("`{id}` is not a session id; such an id is `se_` and 26 letters or digits")
        );
    }

    #[test]
    fn a_quote_is_bounded_and_harmless() {
        assert_eq!(quote("a\u{1b}[31m\nb\u{202e}"), "a\u{fffd}[31m\u{fffd}b\u{fffd}");
        assert_eq!(quote(&"x".repeat(1000)).chars().count(), 81);
    }
}
