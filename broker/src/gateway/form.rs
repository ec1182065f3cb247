//! Forms: the only bodies of which some servers take the method of the call (`_method`), and so the only ones that
//! are looked into although their route lets any body pass.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::{Body, BodyDataStream, Bytes};
use http::HeaderValue;
use jeton_domain::route::is_method_override;
use memchr::memchr_iter;
use tokio_stream::Stream;

use crate::limits::FORM_LINE_BYTES;

/// What kind of form a body is, by its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FormKind {
    /// Pairs of keys and values.
    Pairs,
    /// Parts, each with headers that name it.
    Parts,
}

/// The kind of form that a type names, however it is written.
pub(super) fn kind(content_type: &HeaderValue) -> Option<FormKind> {
    let text = String::from_utf8_lossy(content_type.as_bytes()).to_ascii_lowercase();
    // Why not parsed: of an odd type, one server reads the one half and another the other.
    match (text.contains("form-urlencoded"), text.contains("multipart/")) {
        (true, _) => Some(FormKind::Pairs),
        (false, true) => Some(FormKind::Parts),
        (false, false) => None,
    }
}

/// A key among pairs that makes another method of the call.
pub(super) fn override_in(pairs: &[u8]) -> Option<String> {
    // Why both: `;` separates pairs for some servers.
    let parts = pairs.split(|byte| b"&;".contains(byte));
    let mut keys = parts.flat_map(|pair| form_urlencoded::parse(pair).next());
    keys.find_map(|(key, _)| is_method_override(&key).then(|| key.into_owned()))
}

/// Whether a form was refused while it was sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Refused(Arc<AtomicBool>);

impl Refused {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The bytes of a form with parts. Its last piece goes on only if no part makes another method of the call.
pub(super) struct Parts {
    inner: BodyDataStream,
    held: VecDeque<Bytes>,
    scan: Scan,
    refused: Refused,
    ended: bool,
}

impl Parts {
    pub fn new(body: Body) -> Self {
        let (held, scan) = (VecDeque::new(), Scan::default());
        let (inner, refused) = (body.into_data_stream(), Refused::default());
        Self { inner, held, scan, refused, ended: false }
    }

    pub fn refused(&self) -> Refused {
        self.refused.clone()
    }
}

impl Stream for Parts {
    type Item = Result<Bytes, String>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.ended {
                return Poll::Ready(self.held.pop_front().map(Ok));
            }
            if self.held.len() > 1 {
                return Poll::Ready(self.held.pop_front().map(Ok));
            }
            let bad = match Pin::new(&mut self.inner).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(piece))) if piece.is_empty() => false,
                Poll::Ready(Some(Ok(piece))) => {
                    let bad = self.scan.takes(&piece);
                    self.held.push_back(piece);
                    bad
                }
                Poll::Ready(Some(Err(error))) => {
                    self.ended = true;
                    self.held.clear();
                    return Poll::Ready(Some(Err(error.to_string())));
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    self.scan.ends()
                }
            };
            if bad {
                self.ended = true;
                self.held.clear();
                self.refused.0.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err("the form asks for another method".to_owned())));
            }
        }
    }
}

/// What names a part.
const NAMING: &[u8] = b"content-disposition";

/// Finds the lines that name parts, in bytes that come in pieces. Why anywhere, and not only where a part begins:
/// servers do not agree where that is.
#[derive(Default)]
struct Scan {
    /// The end of what came, as far as a line may begin in it.
    left: Vec<u8>,
}

impl Scan {
    /// Whether a part makes another method of the call.
    fn takes(&mut self, piece: &[u8]) -> bool {
        self.left.extend_from_slice(piece);
        let (bad, kept) = look(&self.left, false);
        self.left.drain(..kept);
        bad
    }

    fn ends(&mut self) -> bool {
        look(&self.left, true).0
    }
}

/// Whether a line in these bytes makes another method of the call, and how many of them are done with.
fn look(bytes: &[u8], ended: bool) -> (bool, usize) {
    let before = b"content".len();
    for dash in memchr_iter(b'-', bytes) {
        let Some(start) = dash.checked_sub(before) else { continue };
        let rest = bytes.get(start..).unwrap_or_default();
        let name = rest.get(..NAMING.len().min(rest.len())).unwrap_or_default();
        let known = NAMING.get(..name.len()).unwrap_or_default();
        if !name.eq_ignore_ascii_case(known) {
            continue;
        }
        let line = rest.get(..FORM_LINE_BYTES.min(rest.len())).unwrap_or_default();
        let end = end_of_line(line);
        if end.is_none() && line.len() < FORM_LINE_BYTES && !ended {
            return (false, start);
        }
        if names_method(line.get(..end.unwrap_or(line.len())).unwrap_or_default()) {
            return (true, start);
        }
    }
    // What comes next may go on with a name that begins here.
    (false, bytes.len().saturating_sub(before))
}

/// Where a line ends: at a break behind which it is not folded. `None` if that is not seen yet.
fn end_of_line(line: &[u8]) -> Option<usize> {
    let breaks = line.iter().enumerate().filter(|(_, byte)| b"\r\n".contains(byte));
    let mut ends = breaks.map(|(place, _)| (place, line.get(place.saturating_add(1))));
    ends.find_map(|(place, next)| {
        let next = next?;
        (!b" \t\n".contains(next)).then_some(place)
    })
}

/// Whether a line names its part by a key that makes another method of the call.
fn names_method(line: &[u8]) -> bool {
    let text: String = String::from_utf8_lossy(line).chars().filter(|one| *one != '\\').collect();
    let decoded: Vec<u8> = percent_decoded(text.as_bytes());
    let decoded = String::from_utf8_lossy(&decoded);
    // Why by separators: a name is quoted, bare, or behind a character set.
    let parts = decoded.split(|one: char| "\"'=; \t\r\n:,".contains(one));
    parts.into_iter().any(is_method_override)
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(value.unwrap_or(*first));
        rest = match value {
            Some(_) => behind.get(2..).unwrap_or_default(),
            None => behind,
        };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt as _;

    fn form(name: &str) -> String {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\ndata-with - dashes\r\n--b\r\nContent-Disposition: form-data; {name}\r\n\r\nDELETE\r\n--b--\r\n"
        )
    }

    async fn sent(text: &str, piece: usize) -> (Vec<u8>, bool, bool) {
        let pieces: Vec<_> = text
            .as_bytes()
            .chunks(piece)
            .map(|part| Ok::<_, std::io::Error>(Bytes::copy_from_slice(part)))
            .collect();
        let mut parts = Parts::new(Body::from_stream(tokio_stream::iter(pieces)));
        let refused = parts.refused();
        let (mut bytes, mut whole) = (vec![], true);
        while let Some(next) = parts.next().await {
            match next {
                Ok(piece) => bytes.extend(piece),
                Err(_) => whole = false,
            }
        }
        (bytes, whole, refused.is_set())
    }

    #[tokio::test]
    async fn a_form_goes_on_byte_for_byte_unless_it_names_another_method() {
        for piece in [1, 2, 7, 64, 4096] {
            let honest = form("name=\"payment_method\"");
            let (bytes, whole, refused) = sent(&honest, piece).await;
            assert!(bytes == honest.as_bytes() && whole && !refused, "{piece}");
            for name in [
                "name=\"_method\"",
                "name=_method",
                "name='_method'",
                "name=\"\\_method\"",
                "name=\"%5Fmethod\"",
                "name*=utf-8''_method",
                "NAME=\"_METHOD\"",
                "\r\n name=\"_method\"",
                "name=\"X-HTTP-Method-Override\"",
            ] {
                let (bytes, whole, refused) = sent(&form(name), piece).await;
                assert!(!whole && refused, "{name} in pieces of {piece}");
                assert!(bytes.len() < form(name).len());
            }
        }
        // In its last piece, without an end.
        let last = "--b\r\ncontent-disposition: form-data; name=\"_method\"";
        for piece in [1, 5, 100] {
            assert!(sent(last, piece).await.2, "{piece}");
        }
    }

    #[test]
    fn pairs_are_looked_through_by_each_separator() {
        for bad in ["_method=DELETE", "a=1&_method=x", "a=1;_method=x", "%5fmethod=x", "a&_Method"]
        {
            assert!(override_in(bad.as_bytes()).is_some(), "{bad}");
        }
        for good in ["", "a=_method", "method=x", "payment_method=card"] {
            assert_eq!(override_in(good.as_bytes()), None, "{good}");
        }
    }

    #[test]
    fn a_form_is_known_by_any_spelling_of_its_type() {
        let kind = |text: &str| kind(&HeaderValue::from_str(text).unwrap());
        assert_eq!(kind("Application/X-WWW-Form-Urlencoded; charset=utf-8"), Some(FormKind::Pairs));
        assert_eq!(kind("text/plain, application/x-www-form-urlencoded"), Some(FormKind::Pairs));
        assert_eq!(kind("multipart/form-data; boundary=b"), Some(FormKind::Parts));
        assert_eq!(kind("application/json"), None);
    }
}
