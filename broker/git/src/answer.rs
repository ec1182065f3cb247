//! What an upstream answers when it is asked for objects and branches. What can't be read is an error.
//!
//! Spec: `gitprotocol-v2`, `fetch` and `ls-refs`.

use gix_packetline::{PacketLineRef, decode};

use crate::{
    limits::{PACK_KEPT_BYTES, TIPS},
    line::complete,
    name::ObjectId,
    pace::Pace,
    pack::{Objects, PackError, Scanner},
};

/// Why an answer to `fetch` gives no objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPack {
    /// The upstream refused, or its answer can't be read.
    #[error("its answer is refused or can't be read")]
    Odd,
    /// There is more than is read for a decision.
    #[error("its answer is larger than the {PACK_KEPT_BYTES} bytes that are read for a decision")]
    TooLarge,
    /// The time for it is over.
    #[error("reading its answer takes too long")]
    Stopped,
}

impl From<PackError> for NoPack {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Odd(_) | PackError::FileTooLarge(..) => Self::Odd,
            PackError::TooMuch(_) => Self::TooLarge,
            PackError::Stopped => Self::Stopped,
        }
    }
}

/// An answer to `fetch` in pieces: sections, then `packfile` on side bands.
pub struct Packed {
    taken: Vec<u8>,
    bytes: usize,
    begun: bool,
    cut_short: bool,
    scanner: Scanner,
}

impl Default for Packed {
    fn default() -> Self {
        let scanner = Scanner::new(u64::MAX, false);
        Self { taken: Vec::new(), bytes: 0, begun: false, cut_short: false, scanner }
    }
}

impl Packed {
    /// Asks this pace while it reads.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self { scanner: self.scanner.paced(pace), ..self }
    }

    /// Takes a piece. Returns whether the answer is whole.
    ///
    /// # Errors
    /// When it is no answer that is read.
    pub fn feed(&mut self, piece: &[u8]) -> Result<bool, NoPack> {
        self.bytes = self.bytes.saturating_add(piece.len());
        // Why: it is for a decision; one that needs more is "no".
        if self.bytes > PACK_KEPT_BYTES {
            return Err(NoPack::TooLarge);
        }
        self.taken.extend_from_slice(piece);
        let mut at = 0_usize;
        let mut over = false;
        while let Some(rest) = self.taken.get(at..).filter(|rest| !rest.is_empty()) {
            let (packet, consumed) = match decode::streaming(rest).map_err(|_| NoPack::Odd)? {
                decode::Stream::Complete { line, bytes_consumed } => (line, bytes_consumed),
                decode::Stream::Incomplete { .. } => break,
            };
            match packet {
                PacketLineRef::Data(content) if self.begun => match content.split_first() {
                    Some((1, content)) => self.scanner.feed(content)?,
                    Some((2, _)) => {}
                    Some(_) | None => return Err(NoPack::Odd),
                },
                PacketLineRef::Data(content) => {
                    if content.starts_with(b"ERR ") {
                        return Err(NoPack::Odd);
                    }
                    self.cut_short |= content.starts_with(b"shallow ");
                    self.begun = content.strip_suffix(b"\n").unwrap_or(content) == b"packfile";
                }
                PacketLineRef::Flush if self.begun => over = true,
                PacketLineRef::Delimiter if !self.begun => {}
                PacketLineRef::Flush | PacketLineRef::Delimiter | PacketLineRef::ResponseEnd => {
                    return Err(NoPack::Odd);
                }
            }
            at = at.saturating_add(consumed);
            if over {
                break;
            }
        }
        self.taken.drain(..at);
        Ok(over)
    }

    /// Bytes that came so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the upstream says that it leaves history out: by a depth that was wanted, or because it has
    /// no more itself.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// The objects in it.
    ///
    /// # Errors
    /// When its pack is not whole.
    pub fn objects(self) -> Result<Objects, NoPack> {
        Ok(self.scanner.finish()?)
    }
}

/// The commits at which branches stand, out of a whole answer to `ls-refs`. `None` if it is none, or there are
/// too many.
#[must_use]
pub fn tips(mut answer: &[u8]) -> Option<Vec<ObjectId>> {
    let mut tips = Vec::new();
    loop {
        let (packet, consumed) = complete(answer)?;
        answer = answer.get(consumed..)?;
        match packet {
            PacketLineRef::Data(content) => {
                let id = content.split(|byte| *byte == b' ').next().and_then(ObjectId::parse)?;
                tips.push(id);
            }
            PacketLineRef::Flush => break,
            PacketLineRef::Delimiter | PacketLineRef::ResponseEnd => return None,
        }
        if tips.len() > TIPS {
            return None;
        }
    }
    Some(tips)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::line;

    const ID: &str = "1111111111111111111111111111111111111111";

    #[test]
    fn branches_are_told_up_to_the_flush_and_no_further() {
        let mut answer = Vec::new();
        line(&mut answer, format!("{ID} refs/heads/main\n").as_bytes());
        line(&mut answer, format!("{ID} refs/heads/b\n").as_bytes());
        for cut in 0..answer.len() {
            assert_eq!(tips(&answer[..cut]), None, "{cut}");
        }
        answer.extend_from_slice(b"0000more");
        assert_eq!(tips(&answer).map(|tips| tips.len()), Some(2));
        assert_eq!(tips(b"0007odd0000"), None);
    }

    #[test]
    fn a_pack_is_read_however_it_is_cut_and_an_error_is_none() {
        // The pack with nothing in it.
        let pack = b"PACK\0\0\0\x02\0\0\0\0\x02\x9d\x08\x82;\xd8\xa8\xea\xb5\x10\xadj\xc7\\\x82<\xfd>\xd3\x1e";
        let mut answer = Vec::new();
        line(&mut answer, b"packfile\n");
        line(&mut answer, b"\x02words");
        line(&mut answer, &[b"\x01", pack.as_slice()].concat());
        answer.extend_from_slice(b"0000");
        for cut in 0..answer.len() {
            let mut packed = Packed::default();
            assert_eq!(packed.feed(&answer[..cut]), Ok(false), "{cut}");
            assert_eq!(packed.feed(&answer[cut..]), Ok(true), "{cut}");
            assert!(packed.objects().is_ok());
        }
        let mut error = Vec::new();
        line(&mut error, b"ERR no such repository");
        assert_eq!(Packed::default().feed(&error), Err(NoPack::Odd));
    }
}
