//! The search: one pass over a text for all patterns.
//!
//! Three bytes at a time are held against a table; only where they may begin a spelling is the text read with care.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{
    escape::{DEPTH, INTRODUCERS, Text, names},
    pattern::{Alphabet, Pattern},
    stream::starred,
};

/// Shortest credential that is looked for, in bytes. Why: a shorter one is found everywhere.
const SHORTEST: usize = 8;
/// Separators between two symbols. Why: the end of a line, and the indentation of the next.
const GAP: u8 = 80;
/// Bits of the table for patterns; beyond so many they share them.
const OWN_BITS: usize = 20;
/// Bits for spellings that begin with an escape, by what introduces it.
const ESCAPED_FIRST: [u32; 4] = [1 << 20, 1 << 21, 1 << 22, 1 << 23];
/// Bits for spellings whose second byte introduces an escape.
const ESCAPED_SECOND: [u32; 4] = [1 << 24, 1 << 25, 1 << 26, 1 << 27];
/// All of those.
const ESCAPED: u32 = 0xff << 20;

/// What a byte may be, as the first, second and third of a spelling: a set of bits.
#[derive(Clone, Copy, Default)]
struct Row {
    first: u32,
    second: u32,
    third: u32,
}

/// All spellings of some credentials.
pub struct Patterns {
    patterns: Vec<Pattern>,
    table: Box<[Row; 256]>,
}

/// What one search found.
#[derive(Default)]
pub(super) struct Findings {
    /// Where the credential is.
    pub spans: Vec<Range<usize>>,
    /// Where something begins that may become one when more is known.
    pub open: Option<usize>,
    /// Bytes of the credential that are known of those, at most.
    pub known: usize,
}

enum Outcome {
    Whole(usize),
    /// The text ends behind so many symbols.
    Begun(usize),
    Nothing,
}

impl Default for Patterns {
    fn default() -> Self {
        // Why all: what follows an escape is not known by its place.
        let row = Row { third: ESCAPED, ..Row::default() };
        let mut patterns = Self { patterns: vec![], table: Box::new([row; 256]) };
        for (introducer, (first, second)) in
            INTRODUCERS.into_iter().zip(ESCAPED_FIRST.into_iter().zip(ESCAPED_SECOND))
        {
            patterns.mark([introducer], |row| {
                row.first |= first;
                row.second |= second;
            });
        }
        // Introducers: what they introduce may itself be escaped.
        for introducer in INTRODUCERS {
            patterns.mark_escapes(introducer);
        }
        let [backslash, percent, entity, _] = ESCAPED_FIRST;
        patterns.mark(*b"0uUx", |row| row.second |= backslash);
        patterns.mark(*b"u", |row| row.second |= percent);
        patterns.mark(*b"#", |row| row.second |= entity);
        patterns
    }
}

impl Patterns {
    /// Looks for a credential too. One of fewer than 8 bytes is ignored.
    pub fn add(&mut self, credential: &[u8]) {
        if credential.len() < SHORTEST {
            return;
        }
        self.insert(Pattern::plain(credential));
        self.insert(Pattern::hex(credential));
        self.insert(Pattern::decimals(credential));
        self.add_base64(credential);
        // Windows encodes UTF-16.
        let wide: Zeroizing<Vec<u8>> =
            Zeroizing::new(credential.iter().flat_map(|byte| [*byte, 0]).collect());
        self.add_base64(&wide);
        // Base64 hides what is escaped inside of it.
        for escaped in escaped(credential) {
            self.add_base64(&escaped);
        }
    }

    /// Looks for the base64 of a text too.
    pub fn add_base64(&mut self, text: &[u8]) {
        if text.len() < SHORTEST {
            return;
        }
        for skipped in 0..3 {
            self.insert(Pattern::base64(text, skipped));
        }
    }

    /// Tells whether a text, nothing behind it, has a credential in it.
    #[must_use]
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        !self.search(bytes, true).spans.is_empty()
    }

    /// Gives a text, nothing behind it, with stars in the place of each credential.
    #[must_use]
    pub fn mask(&self, bytes: &[u8]) -> Vec<u8> {
        starred(bytes, 0..bytes.len(), &self.search(bytes, true).spans)
    }

    fn insert(&mut self, pattern: Pattern) {
        let [one, two, three, ..] = *pattern.symbols.as_slice() else { return };
        let bit = own_bit(self.patterns.len());
        let alphabet = pattern.alphabet;
        self.mark(alphabet.bytes(one), |row| {
            row.first |= bit | ESCAPED_SECOND.iter().fold(0, |all, bit| all | bit);
        });
        self.mark(alphabet.bytes(two), |row| {
            row.second |= bit;
            row.third |= bit;
        });
        self.mark(alphabet.bytes(three), |row| row.third |= bit);
        self.mark(alphabet.separators().iter().copied(), |row| {
            row.second |= bit;
            row.third |= bit;
        });
        self.mark(INTRODUCERS, |row| row.third |= bit);
        for byte in alphabet.bytes(one) {
            self.mark_escapes(byte);
        }
        self.patterns.push(pattern);
    }

    /// Marks the escapes that a first symbol may be. Why none whose second byte is the symbol, or introduces another
    /// escape: what is escaped so is found from there on.
    fn mark_escapes(&mut self, symbol: u8) {
        let [backslash, percent, entity, equals] = ESCAPED_FIRST;
        let digit = |value: u8, radix| char::from_digit(u32::from(value), radix);
        let high = digit(symbol >> 4, 16).into_iter();
        let high = high.flat_map(|digit| [digit, digit.to_ascii_uppercase()]);
        self.mark(high.filter_map(ascii), |row| row.second |= backslash | percent | equals);
        let octal = [6, 3, 0].into_iter().filter_map(|shift| digit((symbol >> shift) & 7, 8));
        self.mark(octal.filter_map(ascii), |row| row.second |= backslash);
        if !symbol.is_ascii_alphanumeric() {
            let named = |first: &u8| names(*first).iter().any(|(_, meant)| *meant == symbol);
            self.mark((b'A'..=b'z').filter(named), |row| row.second |= entity);
        }
    }

    fn mark(&mut self, bytes: impl IntoIterator<Item = u8>, change: impl Fn(&mut Row)) {
        for byte in bytes {
            if let Some(row) = self.table.get_mut(usize::from(byte)) {
                change(row);
            }
        }
    }

    fn row(&self, byte: u8) -> Row {
        self.table.get(usize::from(byte)).copied().unwrap_or_default()
    }

    /// Searches a text.
    pub(super) fn search(&self, bytes: &[u8], complete: bool) -> Findings {
        let mut search = Search {
            patterns: self,
            text: Text { bytes, complete },
            findings: Findings::default(),
            starts: vec![],
            here: vec![],
            next: vec![],
        };
        if self.patterns.is_empty() {
            return search.findings;
        }
        for (at, window) in bytes.windows(3).enumerate() {
            let [one, two, three] = *window else { continue };
            let may = self.row(one).first & self.row(two).second & self.row(three).third;
            if may != 0 {
                search.look(at, may);
            }
        }
        // Why here too: of the last two it is not known what follows.
        for at in bytes.len().saturating_sub(2)..bytes.len() {
            search.look(at, u32::MAX);
        }
        search.findings
    }
}

fn ascii(digit: char) -> Option<u8> {
    u8::try_from(digit).ok()
}

/// The bit of a pattern.
fn own_bit(number: usize) -> u32 {
    1_u32.checked_shl(u32::try_from(number % OWN_BITS).unwrap_or_default()).unwrap_or(1)
}

/// The credential with what it has of special characters escaped, where that is another text.
fn escaped(credential: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let json = |byte: &u8| match byte {
        b'"' | b'\\' => vec![b'\\', *byte],
        byte => vec![*byte],
    };
    let slashes = |byte: &u8| if *byte == b'/' { b"\\/".to_vec() } else { json(byte) };
    let percent = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) => vec![*byte],
        byte => format!("%{byte:02X}").into_bytes(),
    };
    let html = |byte: &u8| match byte {
        b'&' => b"&amp;".to_vec(),
        b'<' => b"&lt;".to_vec(),
        b'>' => b"&gt;".to_vec(),
        b'"' => b"&quot;".to_vec(),
        b'\'' => b"&#39;".to_vec(),
        byte => vec![*byte],
    };
    let write = |way: &dyn Fn(&u8) -> Vec<u8>| -> Zeroizing<Vec<u8>> {
        Zeroizing::new(credential.iter().flat_map(way).collect())
    };
    let mut all: Vec<Zeroizing<Vec<u8>>> = vec![];
    for text in [write(&json), write(&slashes), write(&percent), write(&html)] {
        if text.as_slice() != credential && !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// One search under way.
struct Search<'a> {
    patterns: &'a Patterns,
    text: Text<'a>,
    findings: Findings,
    /// The readings of the position that is looked at.
    starts: Vec<(u8, usize)>,
    /// Positions at which the next symbol may be, and the separators before each.
    here: Vec<(usize, u8)>,
    /// The same for the symbol after it.
    next: Vec<(usize, u8)>,
}

impl Search<'_> {
    /// Follows each pattern that may begin at a position.
    fn look(&mut self, at: usize, may: u32) {
        let Some(byte) = self.text.bytes.get(at).copied() else { return };
        let mut starts = std::mem::take(&mut self.starts);
        starts.clear();
        let mut more = false;
        if INTRODUCERS.contains(&byte) || byte == b'+' {
            let patterns = self.patterns;
            more = self.text.readings(at, DEPTH, &mut |byte, after| {
                if patterns.row(byte).first & !ESCAPED != 0 {
                    starts.push((byte, after));
                }
            });
        } else {
            starts.push((byte, at.saturating_add(1)));
        }
        let patterns = self.patterns;
        let followed = if starts.is_empty() && !more { 0 } else { patterns.patterns.len() };
        for (number, pattern) in patterns.patterns.iter().enumerate().take(followed) {
            if may & (own_bit(number) | ESCAPED) == 0 {
                continue;
            }
            let fits = |byte| pattern.alphabet.symbol(byte) == pattern.symbols.first().copied();
            self.here.clear();
            self.here.extend(starts.iter().filter(|(byte, _)| fits(*byte)).map(|(_, at)| (*at, 0)));
            match self.follow(pattern, at, more) {
                Outcome::Whole(end) => {
                    let span = self.with_neighbors(pattern, at..end);
                    self.findings.spans.push(span);
                }
                Outcome::Begun(symbols) => {
                    let Findings { open, known, .. } = &mut self.findings;
                    *open = Some(open.map_or(at, |before| before.min(at)));
                    *known = pattern.bytes_of(symbols).max(*known);
                }
                Outcome::Nothing => {}
            }
        }
        self.starts = starts;
    }

    /// Follows one pattern through the readings of the text, from its second symbol on: the first is in `here`.
    fn follow(&mut self, pattern: &Pattern, start: usize, more: bool) -> Outcome {
        let Self { text, here, next, .. } = self;
        let furthest = start.saturating_add(pattern.longest());
        let alphabet = pattern.alphabet;
        let mut begun = more.then_some(0);
        if here.is_empty() {
            return begun.map_or(Outcome::Nothing, Outcome::Begun);
        }
        for (number, symbol) in pattern.symbols.iter().enumerate().skip(1) {
            // The usual case: one reading, and it is the symbol or is not.
            if let [(at, gap)] = here.as_mut_slice()
                && let Some(byte) = text.bytes.get(*at)
                && !INTRODUCERS.contains(byte)
            {
                if alphabet.symbol(*byte) == Some(*symbol) {
                    (*at, *gap) = (at.saturating_add(1), 0);
                    continue;
                }
                if !alphabet.separates(*byte) {
                    return begun.map_or(Outcome::Nothing, Outcome::Begun);
                }
            }
            next.clear();
            let mut looked = 0_usize;
            while let Some((at, gap)) = here.get(looked).copied() {
                looked = looked.saturating_add(1);
                if at > furthest {
                    continue;
                }
                let skip = |after: usize, here: &mut Vec<(usize, u8)>| {
                    if gap < GAP && !here.iter().any(|(known, _)| *known == after) {
                        here.push((after, gap.saturating_add(1)));
                    }
                };
                let mut readings = |byte: u8, after: usize| {
                    if alphabet.symbol(byte) == Some(*symbol) {
                        if !next.iter().any(|(known, _)| *known == after) {
                            next.push((after, 0));
                        }
                    } else if alphabet.separates(byte) {
                        skip(after, here);
                    }
                };
                if text.readings(at, DEPTH, &mut readings) {
                    begun = Some(number);
                }
                // `0x6b, 0x65`: what stands before each number of a list.
                if alphabet == Alphabet::Hex {
                    let rest = text.bytes.get(at..).unwrap_or_default();
                    if rest.starts_with(b"0x") || rest.starts_with(b"0X") {
                        skip(at.saturating_add(2), here);
                    } else if rest == b"0" && !text.complete {
                        begun = Some(number);
                    }
                }
            }
            if next.is_empty() {
                return begun.map_or(Outcome::Nothing, Outcome::Begun);
            }
            std::mem::swap(here, next);
        }
        here.iter().map(|(end, _)| *end).min().map_or(Outcome::Nothing, Outcome::Whole)
    }

    /// The span with the symbols of base64 beside it that are the credential's in part.
    fn with_neighbors(&self, pattern: &Pattern, span: Range<usize>) -> Range<usize> {
        let is = |at: Option<usize>, wanted: Option<(u8, u8)>| {
            let symbol = at.and_then(|at| self.text.bytes.get(at)).copied();
            let symbol = symbol.and_then(|byte| pattern.alphabet.symbol(byte));
            matches!((symbol, wanted), (Some(symbol), Some((bits, value))) if symbol & bits == value)
        };
        let before = span.start.checked_sub(1);
        let start = before.filter(|_| is(before, pattern.before)).unwrap_or(span.start);
        let more = is(Some(span.end), pattern.after);
        start..span.end.saturating_add(usize::from(more))
    }
}
