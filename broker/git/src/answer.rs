//! What an upstream answers when it is asked for objects and branches. What is odd is told as nothing.
//!
//! Spec: `gitprotocol-v2`, `fetch` and `ls-refs`.

use gix_packetline::{PacketLineRef, decode};

use crate::{
    limits::{PACK_KEPT_BYTES, TIPS},
    line::complete,
    name::ObjectId,
    pack::{Objects, Scanner},
};

/// An answer to `fetch` in pieces: sections, then `packfile` on side bands.
pub struct Packed {
    taken: Vec<u8>,
    bytes: usize,
    begun: bool,
    scanner: Scanner,
}

impl Default for Packed {
    fn default() -> Self {
        let scanner = Scanner::new(u64::MAX, false);
        Self { taken: Vec::new(), bytes: 0, begun: false, scanner }
    }
}

impl Packed {
    /// Takes a piece. Tells whether the answer is whole; `None` if it is none.
    pub fn feed(&mut self, piece: &[u8]) -> Option<bool> {
        self.bytes = self.bytes.saturating_add(piece.len());
        // Why: it is for a decision; one that needs more is "no".
        if self.bytes > PACK_KEPT_BYTES {
            return None;
        }
        self.taken.extend_from_slice(piece);
        let mut at = 0_usize;
        let mut over = false;
        while let Some(rest) = self.taken.get(at..).filter(|rest| !rest.is_empty()) {
            let (packet, consumed) = match decode::streaming(rest).ok()? {
                decode::Stream::Complete { line, bytes_consumed } => (line, bytes_consumed),
                decode::Stream::Incomplete { .. } => break,
            };
            match packet {
                PacketLineRef::Data(content) if self.begun => match content.split_first()? {
                    (1, content) => self.scanner.feed(content).ok()?,
                    (2, _) => {}
                    _ => return None,
                },
                PacketLineRef::Data(content) => {
                    if content.starts_with(b"ERR ") {
                        return None;
                    }
                    self.begun = content.strip_suffix(b"\n").unwrap_or(content) == b"packfile";
                }
                PacketLineRef::Flush if self.begun => over = true,
                PacketLineRef::Delimiter if !self.begun => {}
                PacketLineRef::Flush | PacketLineRef::Delimiter | PacketLineRef::ResponseEnd => {
                    return None;
                }
            }
            at = at.saturating_add(consumed);
            if over {
                break;
            }
        }
        self.taken.drain(..at);
        Some(over)
    }

    /// What was in it. `None` if its pack is none.
    #[must_use]
    pub fn objects(self) -> Option<Objects> {
        self.scanner.finish().ok()
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
            assert_eq!(packed.feed(&answer[..cut]), Some(false), "{cut}");
            assert_eq!(packed.feed(&answer[cut..]), Some(true), "{cut}");
            assert!(packed.objects().is_some());
        }
        let mut error = Vec::new();
        line(&mut error, b"ERR no such repository");
        assert_eq!(Packed::default().feed(&error), None);
    }
}
