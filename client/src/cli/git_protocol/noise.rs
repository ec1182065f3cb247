//! Pseudo-random questions to the credential helper.

use super::*;

/// Pieces that mean something, plain noise, and a good one with a byte changed.
#[test]
fn no_bytes_crash_the_parser_and_none_reach_another_server() {
    const GOOD: &[u8] = b"protocol=http\nhost=127.0.0.1:8080\npath=acme/api\n";
    const PIECES: [&[u8]; 16] = [
        b"protocol=",
        b"host=",
        b"path=",
        b"http",
        b"127.0.0.1:8080",
        b"\n",
        b"\r",
        b"\0",
        b"acme/api",
        b"/",
        b".git",
        b"=",
        b"@evil.test",
        b"url=",
        b"capability[]=authtype",
        b"\xff",
    ];
    let ours = Site::parse("http://127.0.0.1:8080").unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 16).unwrap() % below
    };
    let mut answered = 0;
    for round in 0..60_000 {
        let mut bytes = Vec::new();
        match round % 3 {
            0 => (0..next(24)).for_each(|_| bytes.extend_from_slice(PIECES[next(16)])),
            1 => (0..next(200)).for_each(|_| bytes.push(u8::try_from(next(256)).unwrap())),
            _ => {
                bytes.extend_from_slice(GOOD);
                let at = next(GOOD.len());
                bytes[at] = u8::try_from(next(256)).unwrap();
            }
        }
        if let Ok(question) = Question::parse(&bytes)
            && let Aim::Repository(name) = question.aims_at(&ours)
        {
            answered += 1;
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains("protocol=http\nhost=127.0.0.1:8080\n"), "{text:?}");
            assert_eq!(name.split('/').count(), 2, "{text:?}");
        }
    }
    // The loop must not be blind: a changed letter of the path is still a path, most else is not.
    assert!((100..10_000).contains(&answered), "{answered}");
}
