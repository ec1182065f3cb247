//! The front of a push, an upstream's advertisement, and the report of what became of a push.
#![no_main]

use jeton_git::{
    advert,
    commands::Commands,
    report::{self, Refused},
};
use libfuzzer_sys::fuzz_target;

/// The lines of a front, read as plainly as can be.
fn lines(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = vec![];
    while let Some((length, rest)) = bytes.split_at_checked(4) {
        let length = usize::from_str_radix(&String::from_utf8_lossy(length), 16).unwrap_or(0);
        let Some((line, rest)) = rest.split_at_checked(length.saturating_sub(4)) else { break };
        if length == 0 {
            break;
        }
        found.push(line.to_vec());
        bytes = rest;
    }
    found
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((commands, taken))) = Commands::parse(bytes) {
        // More behind it changes nothing, and less of it is never the whole.
        let longer = [&bytes[..taken], b"PACK more"].concat();
        assert_eq!(Commands::parse(&longer), Ok(Some((commands.clone(), taken))));
        for cut in [0, taken / 2, taken - 1] {
            assert!(!matches!(Commands::parse(&bytes[..cut]), Ok(Some(_))), "cut at {cut}");
        }
        for update in &commands.updates {
            let name = update.name.as_str();
            assert!(name.starts_with("refs/") && !name.contains(".."), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
            let pattern = update.name.pattern().expect("a ref that no scope can name");
            assert!(pattern.is_exact() && pattern.matches(update.name.in_scopes()));
        }
        // What is told on moves what was allowed, by the plainest reading too, and nothing else.
        let told = commands.with_only(&commands.updates);
        let (again, length) = Commands::parse(&told).expect("it reads back").expect("whole");
        assert_eq!((&again.updates, length), (&commands.updates, told.len()));
        let plain = lines(&told);
        assert_eq!(plain.len(), commands.updates.len());
        for (line, update) in plain.iter().zip(&commands.updates) {
            let command = line.split(|byte| *byte == 0).next().unwrap_or_default();
            let wanted = format!("{} {} {}", update.old, update.new, update.name);
            assert_eq!(command, wanted.as_bytes());
        }
        let refused: Vec<_> = commands
            .updates
            .iter()
            .map(|update| Refused { name: &update.name, why: "no; ask" })
            .collect();
        report::nothing(&commands, &refused, "words");
        report::beside(&commands, bytes, &refused, "words");
    }
    let side_band = Commands { reports: true, side_band: true, ..Commands::default() };
    report::beside(&side_band, bytes, &[], "words");
    if let Ok(Some((written, taken))) = advert::rewrite(bytes) {
        assert!(taken <= bytes.len());
        let last = lines(&written).pop().unwrap_or_default();
        let text = String::from_utf8_lossy(&written);
        if let Some(end) = last.iter().position(|byte| *byte == 0) {
            let capabilities = String::from_utf8_lossy(&last[end..]).into_owned();
            let words = capabilities.trim_matches(['\0', '\n']).split(' ');
            for word in words.filter(|word| !word.is_empty()) {
                let odd = word.starts_with("push-cert") || word == "push-options";
                assert!(!odd, "{text}");
            }
        }
    }
});
