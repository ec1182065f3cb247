//! WebSocket frames of a server: what they carry is masked as one text, whatever frames it is cut into.
//!
//! Spec: RFC 6455 §5. A masked text keeps its length, so the frames stay as they are.

use std::collections::VecDeque;

use super::stream::{Masked, Masker};
use crate::limits::SOCKET_BYTES_WAITING;

/// Longest payload of a control frame. Spec: RFC 6455 §5.5.
const CONTROL: u64 = 125;

/// Why the frames of a server cannot be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Bits of an extension; none was agreed on.
    #[error("a WebSocket frame uses an extension")]
    Extension,
    /// A server that masks.
    #[error("a WebSocket frame of the server is masked")]
    FromClient,
    /// A kind that RFC 6455 does not know.
    #[error("a WebSocket frame is of an unknown kind")]
    Kind,
    /// A control frame that is long or in parts, or a length of more than 63 bits.
    #[error("a WebSocket frame has an invalid length")]
    Length,
    /// Too much that waits.
    #[error("too many WebSocket frames in the middle of a message")]
    Waiting,
}

/// A part of what is sent on, in its order.
enum Segment {
    /// Bytes that are known: a header, or a whole control frame.
    Bytes(Vec<u8>),
    /// So many bytes of the masked text.
    Text(u64),
}

/// What comes next.
enum State {
    Header,
    /// So many bytes of a message.
    Text(u64),
    /// So many bytes of a control frame.
    Control(u64),
}

/// Replaces a credential in the frames of one connection.
pub struct SocketMasker {
    masker: Masker,
    state: State,
    /// A header or a control frame, so far.
    partial: Vec<u8>,
    segments: VecDeque<Segment>,
    /// Masked text that was not sent yet.
    ready: VecDeque<u8>,
    waiting: usize,
}

impl SocketMasker {
    /// Masks the text of the frames.
    #[must_use]
    pub fn new(masker: Masker) -> Self {
        Self {
            masker,
            state: State::Header,
            partial: vec![],
            segments: VecDeque::new(),
            ready: VecDeque::new(),
            waiting: 0,
        }
    }

    /// Takes the next piece, and gives what can be sent on now.
    ///
    /// # Errors
    /// When it is not what a server may send; nothing more must be sent on then.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<Vec<u8>, FrameError> {
        while !piece.is_empty() {
            piece = match self.state {
                State::Header => self.header(piece)?,
                State::Text(left) => self.text(piece, left),
                State::Control(left) => self.control(piece, left),
            };
        }
        let out = self.drain();
        if self.waiting > SOCKET_BYTES_WAITING { Err(FrameError::Waiting) } else { Ok(out) }
    }

    /// As [`Masker::can_release`].
    #[must_use]
    pub fn can_release(&self) -> bool {
        self.masker.can_release()
    }

    /// As [`Masker::release`].
    #[must_use]
    pub fn release(&mut self) -> Vec<u8> {
        self.ready.extend(self.masker.release());
        self.drain()
    }

    /// As [`Masker::finish`]; a frame whose header is not complete is left out.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        self.ready.extend(self.masker.finish());
        self.drain()
    }

    fn header<'p>(&mut self, piece: &'p [u8]) -> Result<&'p [u8], FrameError> {
        let Some((byte, rest)) = piece.split_first() else { return Ok(piece) };
        self.partial.push(*byte);
        let [flags, length, extended @ ..] = self.partial.as_slice() else { return Ok(rest) };
        if flags & 0x70 != 0 {
            return Err(FrameError::Extension);
        }
        if length & 0x80 != 0 {
            return Err(FrameError::FromClient);
        }
        let wanted = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if extended.len() < wanted {
            return Ok(rest);
        }
        let length = match wanted {
            0 => u64::from(*length),
            _ => extended.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
        };
        let (opcode, last) = (flags & 0x0f, flags & 0x80 != 0);
        self.state = match opcode {
            0..=2 if length >> 63 == 0 => State::Text(length),
            8..=10 if last && length <= CONTROL => State::Control(length),
            0..=2 | 8..=10 => return Err(FrameError::Length),
            _ => return Err(FrameError::Kind),
        };
        match self.state {
            State::Text(0) => {
                self.state = State::Header;
                self.whole();
            }
            State::Text(length) => {
                self.whole();
                self.segments.push_back(Segment::Text(length));
            }
            State::Control(0) => {
                self.state = State::Header;
                self.whole();
            }
            State::Control(_) | State::Header => {}
        }
        Ok(rest)
    }

    fn text<'p>(&mut self, piece: &'p [u8], left: u64) -> &'p [u8] {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let (own, rest) = piece.split_at(count);
        match self.masker.push(own) {
            Masked::Front(count) => self.ready.extend(own.iter().take(count)),
            Masked::Bytes(bytes) => self.ready.extend(bytes),
        }
        let left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        self.state = if left == 0 { State::Header } else { State::Text(left) };
        rest
    }

    fn control<'p>(&mut self, piece: &'p [u8], left: u64) -> &'p [u8] {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let (own, rest) = piece.split_at(count);
        self.partial.extend_from_slice(own);
        let left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        if left > 0 {
            self.state = State::Control(left);
            return rest;
        }
        self.state = State::Header;
        let payload = self.partial.get_mut(2..).unwrap_or_default();
        let masked = self.masker.patterns().mask(payload);
        payload.copy_from_slice(&masked);
        self.whole();
        rest
    }

    /// What was collected is sent on behind what came before it.
    fn whole(&mut self) {
        let bytes = std::mem::take(&mut self.partial);
        self.waiting = self.waiting.saturating_add(bytes.len());
        match self.segments.back_mut() {
            Some(Segment::Bytes(before)) => before.extend(bytes),
            Some(Segment::Text(_)) | None => self.segments.push_back(Segment::Bytes(bytes)),
        }
    }

    fn drain(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(segment) = self.segments.front_mut() {
            match segment {
                Segment::Bytes(bytes) => {
                    self.waiting = self.waiting.saturating_sub(bytes.len());
                    out.append(bytes);
                }
                Segment::Text(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(self.ready.len());
                    out.extend(self.ready.drain(..count));
                    *left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                    if *left > 0 {
                        break;
                    }
                }
            }
            self.segments.pop_front();
        }
        out
    }
}
