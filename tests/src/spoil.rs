//! Spoils text files as editors, merges, disks and attackers do.

use crate::reference::dice::Dice;

/// Beyond the largest file that a policy folder may hold, in bytes.
const TOO_LARGE: usize = 16 * 1024 * 1024 + 1;

/// Pieces that no author means.
const ODD: [&[u8]; 12] = [
    b"\0",
    b"\xff\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    "\u{202e}".as_bytes(),
    "\u{200b}".as_bytes(),
    "а".as_bytes(),
    b"\r",
    b"\x1b[2J",
    b"\"",
];
/// Pieces that grow, and how often they may be repeated.
const GROWING: [(&[u8], usize); 10] = [
    (b"(", 5_000),
    (b"[", 5_000),
    (b"{ a = ", 5_000),
    (b"!", 5_000),
    (b"context.ttl < 1 && ", 2_000),
    (b"if true then ", 2_000),
    (b"9", 400),
    (b"\\", 4_000),
    (b"[[team]]\nname = \"x\"\n", 1_000),
    (b"permit (principal, action, resource);\n", 500),
];

/// One of the files with one to three things wrong.
#[must_use]
pub fn spoilt(dice: &mut Dice, files: &[Vec<u8>], which: usize) -> Vec<u8> {
    let mut bytes = files[which].clone();
    for _ in 0..1 + dice.roll(3) {
        once(dice, files, &mut bytes);
    }
    bytes
}

fn once(dice: &mut Dice, files: &[Vec<u8>], bytes: &mut Vec<u8>) {
    let at = dice.roll(bytes.len() + 1);
    let to = (at + 1 + dice.roll(64)).min(bytes.len());
    match dice.roll(13) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
        2 => drop(bytes.drain(at..to)),
        3 => {
            let some: Vec<u8> = (0..1 + dice.roll(8)).map(|_| dice.roll(256) as u8).collect();
            insert(bytes, at, &some);
        }
        4 => insert(bytes, at, dice.pick(&ODD)),
        5 => {
            let mut lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
            if lines.len() > 1 {
                let (one, other) = (dice.roll(lines.len()), dice.roll(lines.len()));
                lines.swap(one, other);
                *bytes = lines.concat();
            }
        }
        6 => {
            let block = bytes[at..(at + dice.roll(600)).min(bytes.len())].to_vec();
            insert(bytes, to, &block);
        }
        7 => {
            let other = &files[dice.roll(files.len())];
            let from = dice.roll(other.len());
            insert(bytes, at, &other[from..(from + dice.roll(200)).min(other.len())]);
        }
        8 | 9 => {
            let other = &files[dice.roll(files.len())];
            let word = word(other, dice.roll(other.len()));
            let old = word_at(bytes, at);
            drop(bytes.splice(old, word.iter().copied()));
        }
        10 => bytes.truncate(at),
        11 => {
            let (piece, most) = dice.pick(&GROWING);
            let times = dice.roll(most);
            insert(bytes, at, &piece.repeat(times));
        }
        12 if dice.once_in(40) => {
            let piece: &[u8] = dice.pick(&[b" ", b"\n", b"// x\n", b"(", b"\0"]);
            insert(bytes, at, &piece.repeat(TOO_LARGE / piece.len() + 1));
        }
        _ => bytes.reverse(),
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    drop(bytes.splice(at..at, piece.iter().copied()));
}

fn word(bytes: &[u8], at: usize) -> &[u8] {
    &bytes[word_at(bytes, at)]
}

/// Where the word around a place stands.
fn word_at(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_:".contains(byte);
    let before = bytes[..at].iter().rev().take_while(|byte| is_part(byte)).count();
    let behind = bytes[at..].iter().take_while(|byte| is_part(byte)).count();
    at - before..at + behind
}
