//! What an upstream answers: objects, branches, and where large files are.
#![no_main]

use jeton_git::{
    answer::{Packed, tips},
    large::{Batch, said, told},
    limits::{LARGE_FILES, TIPS},
};
use libfuzzer_sys::fuzz_target;

fn fed(pieces: &[&[u8]]) -> Option<bool> {
    let mut packed = Packed::default();
    for piece in pieces {
        if packed.feed(piece).ok()? {
            return Some(packed.objects().is_ok());
        }
    }
    Some(false)
}

fuzz_target!(|bytes: &[u8]| {
    let (front, back) = bytes.split_at(bytes.len() / 2);
    assert_eq!(fed(&[bytes]), fed(&[front, back]));
    if let Some(tips) = tips(bytes) {
        assert!(tips.len() <= TIPS);
    }
    let (asked, answer) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, bytes),
    };
    if let Ok(batch) = Batch::parse(asked) {
        assert!(batch.files.len() <= LARGE_FILES);
        assert_eq!(Batch::parse(&batch.asked()), Ok(batch.clone()));
        if let Some(said) = said(answer, &batch) {
            assert!(said.iter().all(|said| batch.files.contains(&said.file)));
            let told = told(&said, batch.upload, "https://gate/git/a/b/c.git");
            let told: serde_json::Value = serde_json::from_slice(&told).expect("JSON");
            // Every address is the gateway's own.
            for object in told["objects"].as_array().expect("objects") {
                for action in object["actions"].as_object().into_iter().flat_map(|all| all.values())
                {
                    let href = action["href"].as_str().expect("an address");
                    assert!(
                        href.starts_with("https://gate/git/a/b/c.git/info/lfs/objects/"),
                        "{href}"
                    );
                }
            }
        }
    }
});
