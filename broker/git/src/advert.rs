//! What an upstream says that it can, on the way to a client that pushes.
//!
//! Only the list of capabilities is changed: what the gateway can't pass on or check is taken out, and
//! `no-thin` is put in, because a thin pack rests on objects that the gateway does not have.

use gix_packetline::{PacketLineRef, decode};

use crate::line::line;

/// What may stand before the capabilities, and themselves, in bytes. Why: the first refs of real hosts take
/// hundreds.
const FRONT_BYTES: usize = 16 * 1024;

/// What a client may hear of.
const KNOWN: [&str; 7] = [
    "report-status",
    "report-status-v2",
    "delete-refs",
    "quiet",
    "atomic",
    "ofs-delta",
    "side-band-64k",
];

/// Rewrites the front of an advertisement of `git-receive-pack`, up to its capabilities. Gives that and how
/// many bytes it replaces; nothing while more is needed.
///
/// # Errors
/// When it is none.
pub fn rewrite(taken: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut at, mut written) = (0_usize, Vec::new());
    loop {
        if at > FRONT_BYTES {
            return Err("it says nowhere what the upstream can");
        }
        let rest = taken.get(at..).unwrap_or_default();
        let packet = decode::streaming(rest).map_err(|_| "it holds what is no pkt-line")?;
        let (packet, consumed) = match packet {
            decode::Stream::Complete { line, bytes_consumed } => (line, bytes_consumed),
            decode::Stream::Incomplete { .. } => return Ok(None),
        };
        at = at.saturating_add(consumed);
        match packet {
            PacketLineRef::Flush => written.extend_from_slice(b"0000"),
            PacketLineRef::Data(content) => match content.iter().position(|byte| *byte == 0) {
                None => line(&mut written, content),
                Some(end) => {
                    let (name, rest) = content.split_at(end);
                    let rest = str::from_utf8(rest.get(1..).unwrap_or_default());
                    let kept = kept(rest.map_err(|_| "its capabilities are no text")?);
                    line(&mut written, &[name, b"\0", kept.as_bytes(), b"\n"].concat());
                    return Ok(Some((written, at)));
                }
            },
            PacketLineRef::Delimiter | PacketLineRef::ResponseEnd => {
                return Err("it holds a packet that does not belong there");
            }
        }
    }
}

fn kept(capabilities: &str) -> String {
    let known = |capability: &&str| {
        KNOWN.contains(capability)
            || capability.starts_with("object-format=")
            || capability.starts_with("agent=")
    };
    let kept = capabilities.split_ascii_whitespace().filter(known);
    kept.chain(["no-thin"]).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_that_would_get_past_the_gateway_are_taken_out() {
        let id = "1".repeat(40);
        let mut front = Vec::new();
        line(&mut front, b"# service=git-receive-pack\n");
        front.extend_from_slice(b"0000");
        let caps = "report-status push-cert=1-2 push-options atomic agent=git/2.47 session-id=3";
        line(&mut front, format!("{id} refs/heads/main\0{caps}\n").as_bytes());
        let whole = [&front[..], b"0000"].concat();
        let (written, taken) = rewrite(&whole).unwrap().unwrap();
        assert_eq!(taken, front.len());
        let written = String::from_utf8(written).unwrap();
        assert!(
            written.ends_with("main\0report-status atomic agent=git/2.47 no-thin\n"),
            "{written}"
        );
        for cut in 0..front.len() {
            assert_eq!(rewrite(&front[..cut]), Ok(None), "{cut}");
        }
        assert!(rewrite(b"<html>nothing").is_err());
    }
}
