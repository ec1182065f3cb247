//! One packet of git's wire. Spec: `gitprotocol-common`, "pkt-line Format".

use gix_packetline::{PacketLineRef, decode};

/// Appends a pkt-line.
pub fn line(out: &mut Vec<u8>, content: &[u8]) {
    // Why no check: what is written here is shorter than any limit by far.
    out.extend_from_slice(format!("{:04x}", content.len().saturating_add(4)).as_bytes());
    out.extend_from_slice(content);
}

/// The first packet and how many bytes it took. `None` if it has not come whole, or is none.
pub(crate) fn complete(bytes: &[u8]) -> Option<(PacketLineRef<'_>, usize)> {
    match decode::streaming(bytes).ok()? {
        decode::Stream::Complete { line, bytes_consumed } => Some((line, bytes_consumed)),
        decode::Stream::Incomplete { .. } => None,
    }
}
