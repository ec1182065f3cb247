use std::collections::BTreeMap;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use proptest::prelude::*;

use super::*;
use crate::secret::hex;

/// The key of `tests/golden/spellings.json`.
const KEY: &str = "sk-canary/0123+456=ab&cd'ef?gh";

fn patterns(secret: &[u8]) -> Patterns {
    let mut patterns = Patterns::default();
    patterns.add(secret);
    patterns
}

/// What a stream of these pieces gives.
fn masked<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, secret: &[u8]) -> Vec<u8> {
    let mut masker = Masker::new(patterns(secret));
    let mut out = Vec::new();
    for piece in pieces {
        match masker.push(piece) {
            Masked::Front(count) => out.extend_from_slice(&piece[..count]),
            Masked::Bytes(bytes) => out.extend(bytes),
        }
    }
    out.extend(masker.finish());
    out
}

fn text(pieces: &[&str], secret: &str) -> String {
    let pieces = pieces.iter().map(|piece| piece.as_bytes());
    String::from_utf8(masked(pieces, secret.as_bytes())).unwrap()
}

/// What is there of the key: five letters of it, or of its base64 or hex.
fn leak(out: &[u8], key: &str) -> Option<String> {
    let mut forms = vec![key.to_owned(), hex(key.as_bytes())];
    for skipped in 0..3 {
        let padded = ["x".repeat(skipped).as_bytes(), key.as_bytes()].concat();
        let first = if skipped == 0 { 0 } else { skipped + 1 };
        let length = (skipped + key.len()) * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            forms.push(engine.encode(&padded)[first..length].to_owned());
        }
    }
    let mut windows = forms.iter().flat_map(|form| form.as_bytes().windows(5));
    let found = windows.find(|part| out.windows(5).any(|own| own == *part));
    found.map(|part| String::from_utf8_lossy(part).into_owned())
}

fn spellings() -> BTreeMap<String, String> {
    serde_json::from_str(include_str!("../../../../tests/golden/spellings.json")).unwrap()
}

#[test]
fn every_honest_spelling_is_masked() {
    let spellings = spellings();
    assert!(spellings.len() >= 45, "{}", spellings.len());
    let leaks: Vec<_> = spellings
        .iter()
        .filter_map(|(name, spelling)| {
            let out = text(&["<", spelling, ">"], KEY);
            assert_eq!(out.len(), spelling.len() + 2, "{name}");
            let longest = out.split(|letter| letter != '*').map(str::len).max().unwrap();
            let leak = leak(out.as_bytes(), KEY);
            (leak.is_some() || longest < KEY.len()).then_some((name, out, leak))
        })
        .collect();
    assert!(leaks.is_empty(), "{} of {} leak: {leaks:#?}", leaks.len(), spellings.len());
}

#[test]
fn every_honest_spelling_is_masked_wherever_it_is_cut() {
    for (name, spelling) in spellings() {
        let whole = format!("a text, {spelling} and more");
        let expected = text(&[&whole], KEY);
        for size in [1, 2, 3, 5, 7, 64] {
            let pieces = whole.as_bytes().chunks(size);
            let out = masked(pieces, KEY.as_bytes());
            // The last bits of what is already sent cannot be masked any more.
            assert_eq!(leak(&out, KEY), None, "{name} by {size}");
            let differ = out.iter().zip(expected.as_bytes()).filter(|(a, b)| a != b).count();
            assert!(differ <= 8, "{name} by {size}: {:?}", String::from_utf8_lossy(&out));
        }
    }
}

#[test]
fn what_only_looks_like_an_escape_hides_nothing() {
    let secret = "ab%2F12=cd&amp;\\x41";
    for (spelling, before) in [
        (secret.to_owned(), "key="),
        ("ab%252F12%3Dcd%26amp%3B%5Cx41".to_owned(), "key="),
        ("ab%2F12=cd&amp;amp;\\x41".to_owned(), "100%"),
        ("ab%2F12=cd&amp;\\\\x41".to_owned(), "\\"),
        ("ab%2F12=cd\\u0026amp;\\\\x41".to_owned(), "x=\\\""),
    ] {
        let out = text(&[before, &spelling, "!"], secret);
        let covered = "*".repeat(spelling.len());
        assert!(out.ends_with(&format!("{covered}!")), "{spelling}: {out}");
    }
}

#[test]
fn what_is_no_credential_stays_as_it_is() {
    let jwt = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ";
    let page =
        "<p>eyJhbGciOiJFZERTQSJ9 &amp; eyJ\\u0061 100% =\r\n \\\\\\\\ %25 &#x65;yJ &lt;e</p>";
    assert_eq!(text(&[page], jwt), page);
    assert_eq!(text(&["short"], "short"), "short");
    assert_eq!(text(&["canary-secre"], "canary-secret"), "canary-secre");
}

#[test]
fn a_short_end_is_released_and_what_it_began_is_masked() {
    let mut masker = Masker::new(patterns(b"canary-secret"));
    assert_eq!(masker.push(b"a message can"), Masked::Front(10));
    assert!(masker.can_release());
    assert_eq!(masker.release(), b"can");
    assert!(!masker.can_release());
    assert_eq!(masker.push(b"ary-sec"), Masked::Bytes(vec![]));
    assert!(!masker.can_release());
    assert_eq!(masker.push(b"ret!"), Masked::Bytes(b"**********!".to_vec()));
    assert_eq!(masker.finish(), b"");
    // The end of a line is not held back.
    let mut masker = Masker::new(patterns(b"canary-secret"));
    assert_eq!(masker.push(b"data: abc\n\n"), Masked::Front(11));
    assert_eq!(masker.push(b"anary-secret"), Masked::Bytes(b"************".to_vec()));
}

#[test]
fn work_and_what_is_held_are_bounded() {
    let key = "k".repeat(64) + "end";
    let mut masker = Masker::new(patterns(key.as_bytes()));
    for piece in ["k \t", "\\", "%25", "&amp;", "=\n", "\\u006b", "kk\n       "] {
        for _ in 0..2_000 {
            let _ = masker.push(piece.as_bytes());
            assert!(masker.held() < 20_000, "{piece:?}: {}", masker.held());
        }
    }
}

fn frame(flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut frame = vec![flags];
    match u8::try_from(length) {
        Ok(short @ ..126) => frame.push(short),
        _ => {
            frame.push(126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

fn socket(pieces: &[Vec<u8>]) -> Result<Vec<u8>, FrameError> {
    let mut socket = SocketMasker::new(Masker::new(patterns(b"canary-secret")));
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(socket.push(piece)?);
    }
    out.extend(socket.finish());
    Ok(out)
}

#[test]
fn a_credential_in_several_frames_is_masked_and_the_frames_stay() {
    let frames = [
        frame(0x01, b"you are cana"),
        frame(0x89, b"ping"),
        frame(0x00, b"ry-sec"),
        frame(0x00, b""),
        frame(0x80, b"ret"),
        frame(0x82, &[b"x".repeat(300), b"canary-secret".to_vec()].concat()),
        frame(0x88, b"\x03\xe8canary-secret"),
    ];
    let expected = [
        frame(0x01, b"you are ****"),
        frame(0x89, b"ping"),
        frame(0x00, b"******"),
        frame(0x00, b""),
        frame(0x80, b"***"),
        frame(0x82, &[b"x".repeat(300), b"*************".to_vec()].concat()),
        frame(0x88, b"\x03\xe8*************"),
    ];
    let whole = frames.concat();
    for size in [1, 2, 3, 7, 4096] {
        let pieces: Vec<_> = whole.chunks(size).map(<[u8]>::to_vec).collect();
        assert_eq!(socket(&pieces).unwrap(), expected.concat(), "{size}");
    }
}

#[test]
fn frames_that_no_server_sends_end_the_connection() {
    let masked = vec![0x81, 0x85, 1, 2, 3, 4, 0, 0, 0, 0, 0];
    let long = vec![0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0];
    let pings = [frame(0x01, b"canary-s"), frame(0x89, b"").repeat(40_000)].concat();
    for (bytes, error) in [
        (frame(0xc1, b"packed"), FrameError::Extension),
        (masked, FrameError::FromClient),
        (frame(0x83, b"x"), FrameError::Kind),
        (frame(0x8b, b"x"), FrameError::Kind),
        (frame(0x09, b"x"), FrameError::Length),
        (frame(0x89, &[0; 126]), FrameError::Length),
        (long, FrameError::Length),
        (pings, FrameError::Waiting),
    ] {
        assert_eq!(socket(&[bytes]), Err(error));
    }
}

/// One character in one of many ways.
fn written(letter: u8, way: u8) -> String {
    let text = char::from(letter);
    match way {
        0 => format!("%{letter:02X}"),
        1 => format!("\\u{letter:04x}"),
        2 => format!("\\x{letter:02X}"),
        3 => format!("&#{letter};"),
        4 => format!("&#x{letter:x};"),
        5 => format!("\\{letter:03o}"),
        6 => format!("={letter:02X}"),
        7 => format!("%25{letter:02x}"),
        8 => format!("\\\\u{letter:04X}"),
        9 => format!("&amp;#{letter};"),
        10 if !letter.is_ascii_alphanumeric() => format!("\\{text}"),
        11 if !letter.is_ascii_alphanumeric() => format!("\\\\{text}"),
        12 => format!("{text}=\r\n"),
        13 => format!("{text}\\\n"),
        _ => text.to_string(),
    }
}

fn spelling() -> impl Strategy<Value = (String, Vec<u8>)> {
    let secret = "[A-Za-z0-9+/=_.%&-]{12,40}";
    let escaped = (secret, proptest::collection::vec(0..40_u8, 40)).prop_map(|(secret, ways)| {
        let text: String = secret.bytes().zip(ways).map(|(l, way)| written(l, way)).collect();
        (secret, text.into_bytes())
    });
    let encoded = (secret, 0..4_usize, 1..80_usize, any::<bool>(), 0..3_usize).prop_map(
        |(secret, skipped, width, url, gap)| {
            let bytes = [vec![b'~'; skipped], secret.clone().into_bytes()].concat();
            let text = if url { URL_SAFE_NO_PAD.encode(bytes) } else { STANDARD.encode(bytes) };
            let gap = ["\n", "\r\n", "\\n"][gap];
            let lines: Vec<_> = text.as_bytes().chunks(width).collect();
            (secret, lines.join(gap.as_bytes()))
        },
    );
    let digits = (secret, any::<bool>()).prop_map(|(secret, upper)| {
        let text = hex(secret.as_bytes());
        (secret, if upper { text.to_uppercase() } else { text }.into_bytes())
    });
    prop_oneof![escaped, encoded, digits]
}

fn cut(bytes: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let (mut pieces, mut rest) = (vec![], bytes);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, more) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = more;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    #[test]
    fn no_spelling_gets_through_in_any_pieces(
        (secret, spelling) in spelling(),
        before in "[ -~]{0,60}",
        after in "[ -~]{0,60}",
        sizes in proptest::collection::vec(1..50_usize, 1..20),
    ) {
        let whole = [before.as_bytes(), b"<", &spelling, b">", after.as_bytes()].concat();
        let pieces = cut(&whole, &sizes);
        let out = masked(pieces.iter().map(Vec::as_slice), secret.as_bytes());
        prop_assert_eq!(out.len(), whole.len());
        let text = String::from_utf8_lossy(&out).into_owned();
        prop_assert!(out.windows(secret.len() / 2).any(|part| part.iter().all(|byte| *byte == b'*')), "{}", text);
        // What surrounds it is as it was, but for what an escape may have begun.
        prop_assert!(text.starts_with(&before), "{}", text);
        prop_assert!(text.ends_with(&after), "{}", text);
        let mut known = patterns(secret.as_bytes());
        known.add_base64(b"");
        prop_assert!(!known.are_in(&out), "{}", text);
    }

    #[test]
    fn what_holds_no_credential_stays_byte_for_byte(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        text in "[\\\\%&=xu0-9a-f;#\"' \n]{0,200}",
        sizes in proptest::collection::vec(1..50_usize, 1..20),
    ) {
        for whole in [bytes, text.into_bytes()] {
            let pieces = cut(&whole, &sizes);
            let out = masked(pieces.iter().map(Vec::as_slice), b"Zg7+no/such=credential");
            prop_assert_eq!(out, whole);
        }
    }

    #[test]
    fn frames_keep_their_length(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in 1..9_usize) {
        let whole = frame(0x82, &bytes);
        let pieces: Vec<_> = whole.chunks(size).map(<[u8]>::to_vec).collect();
        prop_assert_eq!(socket(&pieces).unwrap(), whole);
    }
}
