//! What an upstream sends back, in pieces: masked as a stream, as one text, and as the frames of a WebSocket.
#![no_main]

use jeton_domain::mask::{Masked, Masker, Patterns, SocketMasker};
use libfuzzer_sys::fuzz_target;

const KEY: &[u8] = b"sk-canary/0123+456=ab&cd'ef?gh";

fn masker() -> Masker {
    let mut patterns = Patterns::default();
    patterns.add(KEY);
    Masker::new(patterns)
}

fn streamed(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut masker, mut out) = (masker(), Vec::new());
    for piece in pieces {
        match masker.push(piece) {
            Masked::Front(count) => out.extend_from_slice(&piece[..count]),
            Masked::Bytes(bytes) => out.extend(bytes),
        }
        assert!(masker.held() <= 16 * 1024, "{} bytes are held", masker.held());
    }
    out.extend(masker.finish());
    out
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, text)) = bytes.split_first() else { return };
    let size = usize::from(*first % 64) + 1;
    let pieces: Vec<&[u8]> = text.chunks(size).collect();
    let (whole, cut) = (streamed(&[text]), streamed(&pieces));
    // What is replaced keeps its place; everything else stays.
    for out in [&whole, &cut] {
        assert_eq!(out.len(), text.len());
        assert!(out.iter().zip(text).all(|(out, own)| out == own || *out == b'*'));
        assert!(!out.windows(KEY.len()).any(|part| part == KEY));
    }
    let found = masker().patterns().are_in(text);
    assert_eq!(found, whole != text);
    if !found {
        assert_eq!(cut, text);
    }
    // The key behind the text is found, wherever it is cut.
    let with_key = [text, b"<", KEY, b">"].concat();
    let pieces: Vec<&[u8]> = with_key.chunks(size).collect();
    assert!(!streamed(&pieces).windows(12).any(|part| part == &KEY[8..20]));

    let (mut one, mut many) = (SocketMasker::new(masker()), SocketMasker::new(masker()));
    if let Ok(mut out) = one.push(text) {
        out.extend(one.finish());
        assert!(out.len() <= text.len());
        let mut cut = Vec::new();
        for piece in text.chunks(size) {
            cut.extend(many.push(piece).expect("taken whole"));
        }
        cut.extend(many.finish());
        assert_eq!(out.len(), cut.len());
    }
});
