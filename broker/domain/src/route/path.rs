//! A path as it is sent: written in the one way that needs no decoding but of what can't be written otherwise.
//! What some clients encode though they need not, such as `@` and `:`, may be written both ways, and is the same.

use super::RouteError;
use crate::{
    id::quote,
    limits::{ROUTE_SEGMENTS, ROUTE_TEXT},
};

/// A path that is written in one way only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainPath {
    pub(super) segments: Vec<String>,
    decoded: String,
}

impl PlainPath {
    /// Checks a path, as it stands in a request, from its first slash on.
    ///
    /// # Errors
    /// When it could be read in two ways.
    pub fn parse(path: &str) -> Result<Self, RouteError> {
        let odd = || RouteError::Path(quote(path));
        let segments = path.strip_prefix('/').ok_or_else(odd)?.split('/');
        let segments: Vec<String> = segments.map(decode).collect::<Option<_>>().ok_or_else(odd)?;
        if segments.len() > ROUTE_SEGMENTS || path.len() > ROUTE_TEXT {
            return Err(odd());
        }
        let decoded = format!("/{}", segments.join("/"));
        Ok(Self { segments, decoded })
    }

    /// The path, decoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.decoded
    }
}

/// Decodes one segment, if it is written as plainly as it can be (RFC 3986 §6.2.2).
pub(super) fn decode(segment: &str) -> Option<String> {
    let (mut decoded, mut bytes) = (Vec::with_capacity(segment.len()), segment.bytes());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let byte =
                    digit(bytes.next()?)?.checked_mul(16)?.checked_add(digit(bytes.next()?)?)?;
                // Why: what need not be encoded, or means something else when decoded, is encoded only to
                // be read in two ways.
                let plain = byte.is_ascii_alphanumeric() || b"-._~/\\%;".contains(&byte);
                if plain || byte.is_ascii_control() {
                    return None;
                }
                byte
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => byte,
            other if b"-._~!$&'()*+,=:@".contains(&other) => other,
            _ => return None,
        };
        decoded.push(byte);
    }
    let decoded = String::from_utf8(decoded).ok()?;
    // Why no trailing dot either: some servers cut it off.
    let known = !matches!(decoded.as_str(), "" | "." | "..") && !decoded.ends_with('.');
    known.then_some(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => byte.checked_sub(b'0'),
        b'A'..=b'F' => byte.checked_sub(b'A')?.checked_add(10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_none() {
        for bad in [
            "",
            "x",
            "//",
            "/",
            "/a//b",
            "/a/",
            "/a/./b",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a%2fb",
            "/a%2Fb",
            "/a\\b",
            "/a%5Cb",
            "/a;b",
            "/a%3Bb",
            "/%61",
            "/a%00",
            "/a%0A",
            "/a%zz",
            "/a%2",
            "/a%c3%a9",
            "/a b",
            "/\u{e9}",
            "/a?b",
            "/a#b",
            "/a.",
            "/a/..;/b",
            "/%252e",
            "/a%ff",
        ] {
            assert!(PlainPath::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(PlainPath::parse("/a%20b/%C3%A9:x@y").unwrap().as_str(), "/a b/\u{e9}:x@y");
    }

    proptest! {
        #[test]
        fn what_is_taken_has_one_spelling(path in "/[a-z%./;A-F0-9 ]{0,12}", other in "/[a-z%./;A-F0-9 ]{0,12}") {
            if let (Ok(one), Ok(two)) = (PlainPath::parse(&path), PlainPath::parse(&other)) {
                prop_assert_eq!(one == two, path == other);
            }
        }
    }
}
