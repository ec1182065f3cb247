//! Looks for secrets where none may be, also when they are encoded or cut in two.

use std::collections::HashMap;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Shortest piece that is looked for. Why: a shorter one may turn up by chance.
const SHORTEST: usize = 12;
/// By how many first bytes pieces are found.
const KEY: usize = 8;

/// The secrets to look for.
#[derive(Default)]
pub struct Canaries {
    pieces: HashMap<[u8; KEY], Vec<(Vec<u8>, String)>>,
}

impl Canaries {
    /// Looks for this one too, in every form.
    pub fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= SHORTEST, "`{name}` is too short to look for");
        for (form, bytes) in forms(secret) {
            self.piece(bytes, format!("{name}, {form}"));
        }
    }

    /// Looks for each line of the body of a key file in PEM.
    pub fn add_pem(&mut self, name: &str, pem: &str) {
        let body =
            pem.lines().filter(|line| !line.starts_with("-----") && line.len() >= 2 * SHORTEST);
        for (number, line) in body.enumerate() {
            self.add(&format!("{name}, line {number}"), line);
        }
    }

    fn piece(&mut self, bytes: Vec<u8>, name: String) {
        if bytes.len() >= SHORTEST {
            let key = bytes[..KEY].try_into().unwrap();
            self.pieces.entry(key).or_default().push((bytes, name));
        }
    }

    /// Which of them are in there, by name and form.
    pub fn found_in(&self, text: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        for (at, window) in text.windows(KEY).enumerate() {
            let Ok(key) = <&[u8; KEY]>::try_from(window) else {
                continue;
            };
            let Some(pieces) = self.pieces.get(key) else {
                continue;
            };
            let here = pieces.iter().filter(|(bytes, _)| text[at..].starts_with(bytes));
            found.extend(here.map(|(_, name)| name.as_str()));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// A secret as it may turn up.
pub fn forms(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    let decimal: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    let mut forms = vec![
        ("first half", first.to_vec()),
        ("second half", second.to_vec()),
        ("reversed, first half", reversed[..reversed.len() / 2].to_vec()),
        ("reversed, second half", reversed[reversed.len() / 2..].to_vec()),
        ("hex", hex(bytes).into_bytes()),
        ("hex in capitals", hex(bytes).to_uppercase().into_bytes()),
        ("a list of bytes", decimal.join(", ").into_bytes()),
    ];
    // Why three times: in a larger text, base64 may begin at any of three places.
    for skipped in 0..3 {
        let rest = &bytes[skipped..];
        let whole = &rest[..rest.len() / 3 * 3];
        forms.push(("base64", STANDARD_NO_PAD.encode(whole).into_bytes()));
        forms.push(("base64url", URL_SAFE_NO_PAD.encode(whole).into_bytes()));
    }
    if let Ok(decoded) = STANDARD.decode(secret) {
        forms.push(("decoded", decoded));
    }
    forms
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
