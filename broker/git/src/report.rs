//! What a push is told of its outcome, as git's own server tells it: refs one by one, and words beside.
//!
//! Spec: `gitprotocol-pack`, "Report Status"; side band 1 carries the report, 2 words for people.

use gix_packetline::PacketLineRef;

use crate::{
    commands::Commands,
    line::{complete, line},
    name::RefName,
};

/// The longest content of a packet of a side band (`side-band-64k`), its band not counted.
const BAND_BYTES: usize = 65_515;

/// A ref that is not moved, and why, in one line.
pub struct Refused<'a> {
    /// Which.
    pub name: &'a RefName,
    /// Why.
    pub why: &'a str,
}

/// The answer to a push of which nothing is passed on.
pub fn nothing(commands: &Commands, refused: &[Refused<'_>], words: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut report = Vec::new();
    line(&mut report, b"unpack ok\n");
    report.extend(not_moved(refused));
    report.extend_from_slice(b"0000");
    if commands.side_band {
        band(&mut out, 2, words.as_bytes());
        if commands.reports {
            band(&mut out, 1, &report);
        }
        out.extend_from_slice(b"0000");
    } else if commands.reports {
        out = report;
    }
    out
}

/// The upstream's answer to what was passed on, with what was not put beside it. `None` if it is not
/// understood.
pub fn beside(
    commands: &Commands,
    answer: &[u8],
    refused: &[Refused<'_>],
    words: &str,
) -> Option<Vec<u8>> {
    let (mut out, mut report) = (Vec::new(), Vec::new());
    if commands.side_band {
        band(&mut out, 2, words.as_bytes());
        for packet in packets(answer)? {
            match packet.split_first()? {
                (1, rest) => report.extend_from_slice(rest),
                (2 | 3, _) => line(&mut out, packet),
                _ => return None,
            }
        }
    } else {
        report.extend_from_slice(answer);
    }
    let mut told = Vec::new();
    for packet in packets(&report)? {
        line(&mut told, packet);
    }
    told.extend(not_moved(refused));
    told.extend_from_slice(b"0000");
    if !commands.side_band {
        return Some(told);
    }
    band(&mut out, 1, &told);
    out.extend_from_slice(b"0000");
    Some(out)
}

fn not_moved(refused: &[Refused<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for Refused { name, why } in refused {
        let why: String = why.chars().filter(|letter| !letter.is_control()).take(400).collect();
        line(&mut out, format!("ng {name} {why}\n").as_bytes());
    }
    out
}

/// The packets up to the first flush packet.
fn packets(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    loop {
        let (packet, consumed) = complete(bytes)?;
        bytes = bytes.get(consumed..)?;
        match packet {
            PacketLineRef::Data(content) => found.push(content),
            PacketLineRef::Flush => return Some(found),
            PacketLineRef::Delimiter | PacketLineRef::ResponseEnd => return None,
        }
    }
}

/// Appends content on a side band, in packets of the size that git takes.
fn band(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    for part in content.chunks(BAND_BYTES) {
        line(out, &[&[number], part].concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(side_band: bool) -> Commands {
        Commands { reports: true, side_band, ..Commands::default() }
    }

    #[test]
    fn what_the_upstream_says_stays_and_what_was_refused_stands_beside_it() {
        let main = RefName::parse("refs/heads/main").unwrap();
        let refused = [Refused { name: &main, why: "no\nhere" }];
        let mut report = Vec::new();
        line(&mut report, b"unpack ok\n");
        line(&mut report, b"ok refs/heads/agent/x\n");
        report.extend_from_slice(b"0000");
        let plain = beside(&commands(false), &report, &refused, "words\n").unwrap();
        assert_eq!(
            String::from_utf8(plain).unwrap(),
            "000eunpack ok\n001aok refs/heads/agent/x\n001eng refs/heads/main nohere\n0000"
        );
        let mut bands = Vec::new();
        band(&mut bands, 2, b"hello\n");
        band(&mut bands, 1, &report);
        bands.extend_from_slice(b"0000");
        let told = beside(&commands(true), &bands, &refused, "words\n").unwrap();
        let told = String::from_utf8(told).unwrap();
        for part in ["\u{2}words\n", "\u{2}hello\n", "ok refs/heads/agent/x", "ng refs/heads/main"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        for cut in 0..bands.len() {
            assert_eq!(beside(&commands(true), &bands[..cut], &refused, ""), None, "{cut}");
        }
    }

    #[test]
    fn a_client_that_hears_nothing_is_told_nothing() {
        let silent = Commands::default();
        assert!(nothing(&silent, &[], "words").is_empty());
    }
}
