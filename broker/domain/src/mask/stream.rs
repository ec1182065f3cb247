//! A stream in which the credential is replaced, also where it is cut between two pieces.

use std::ops::Range;

use zeroize::Zeroizing;

use super::search::Patterns;

/// What stands in the place of a credential.
const STAR: u8 = b'*';
/// Most bytes of a credential that are sent on when nothing comes behind them. Why so few: they are all of it that a
/// sender gets through who sends it bit by bit.
const BEGINNING: usize = 4;

/// What of a piece can be sent on.
#[derive(Debug, PartialEq, Eq)]
pub enum Masked {
    /// So many bytes from its beginning, unchanged.
    Front(usize),
    /// These.
    Bytes(Vec<u8>),
}

/// Replaces a credential in one stream. What may be the beginning of one is held back until more is known; at most 16
/// bytes for each symbol of the longest spelling.
pub struct Masker {
    patterns: Patterns,
    /// The end of what came, as it came.
    held: Zeroizing<Vec<u8>>,
    /// Bytes of it that were sent on all the same.
    sent: usize,
    /// Bytes of it that belong to a credential that was found.
    covered: usize,
    /// Bytes of a credential that it may be.
    known: usize,
}

impl Masker {
    /// Looks for these.
    #[must_use]
    pub fn new(patterns: Patterns) -> Self {
        Self { patterns, held: Zeroizing::default(), sent: 0, covered: 0, known: 0 }
    }

    /// What it looks for.
    #[must_use]
    pub fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// Bytes that are kept: held back, or sent and still the beginning of something.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the next piece, and gives what can be sent on now.
    pub fn push(&mut self, piece: &[u8]) -> Masked {
        if piece.is_empty() {
            return Masked::Front(0);
        }
        if !self.held.is_empty() {
            self.held.extend_from_slice(piece);
            let bytes = std::mem::take(&mut self.held);
            return Masked::Bytes(self.mask(&bytes, false));
        }
        let found = self.patterns.search(piece, false);
        if !found.spans.is_empty() {
            return Masked::Bytes(self.mask(piece, false));
        }
        let end = found.open.unwrap_or(piece.len());
        self.held = Zeroizing::new(piece.get(end..).unwrap_or_default().to_vec());
        self.known = found.known;
        let now = if self.sends_line() { self.release_count() } else { 0 };
        Masked::Front(end.saturating_add(now))
    }

    /// Tells whether `release` would give something.
    #[must_use]
    pub fn can_release(&self) -> bool {
        self.known <= BEGINNING && self.held.len() > self.sent
    }

    /// Gives what is held if it is at most 4 bytes of a credential: whoever waits for the last letter of a message
    /// would wait for the next message. What follows is masked all the same.
    #[must_use]
    pub fn release(&mut self) -> Vec<u8> {
        if !self.can_release() {
            return vec![];
        }
        let from = self.sent;
        self.release_count();
        starred(&self.held, from..self.held.len(), std::slice::from_ref(&(0..self.covered)))
    }

    /// Ends the stream: gives what was held, masked.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.held);
        self.mask(&bytes, true)
    }

    /// Counts all of it as sent; gives how many bytes were not before.
    fn release_count(&mut self) -> usize {
        let now = self.held.len().saturating_sub(self.sent);
        self.sent = self.held.len();
        now
    }

    /// Whether what is held ends a line, and may be sent. Why: it is the end of an event or of a message.
    fn sends_line(&self) -> bool {
        self.can_release() && self.held.last() == Some(&b'\n')
    }

    fn mask(&mut self, bytes: &[u8], complete: bool) -> Vec<u8> {
        let found = self.patterns.search(bytes, complete);
        let end = found.open.unwrap_or(bytes.len());
        let mut spans = found.spans;
        spans.push(0..self.covered);
        let mut out = starred(bytes, self.sent..end, &spans);
        self.held = Zeroizing::new(bytes.get(end..).unwrap_or_default().to_vec());
        self.sent = self.sent.saturating_sub(end);
        self.covered = spans.iter().map(|span| span.end.saturating_sub(end)).max().unwrap_or(0);
        self.known = found.known;
        if self.sends_line() {
            out.extend(self.release());
        }
        out
    }
}

/// A part of a text, with stars in these places of the text.
pub(super) fn starred(bytes: &[u8], part: Range<usize>, spans: &[Range<usize>]) -> Vec<u8> {
    let mut out = bytes.get(part.clone()).unwrap_or_default().to_vec();
    for span in spans {
        let from = span.start.saturating_sub(part.start).min(out.len());
        let to = span.end.saturating_sub(part.start).min(out.len());
        out.get_mut(from..to).unwrap_or_default().fill(STAR);
    }
    out
}
