//! The readings of a text: the byte that stands at a position, and each byte that an escape there can mean.

/// Escapes within escapes that are read. Why: JSON in JSON in a URL is three.
pub(super) const DEPTH: u8 = 3;
/// Escapes within the digits and letters of an escape that are read. Why: only who escapes every character writes them.
const PARTS_DEPTH: u8 = 1;
/// Introducers that one position is read as. Why: bounds the work; three levels of any one escape are four.
const INTRODUCED: usize = 16;
/// Longest numbers: `&#00000047;`, `\U0000002f`.
const DIGITS: u8 = 8;

/// The names of ASCII characters in HTML that begin with a letter. Spec: HTML §13.5.
pub(super) fn names(first: u8) -> &'static [(&'static [u8], u8)] {
    match first {
        b'A' => &[(b"AMP", b'&')],
        b'D' => &[(b"DiacriticalGrave", b'`')],
        b'G' => &[(b"GT", b'>')],
        b'H' => &[(b"Hat", b'^')],
        b'L' => &[(b"LT", b'<')],
        b'N' => &[(b"NewLine", b'\n')],
        b'Q' => &[(b"QUOT", b'"')],
        b'T' => &[(b"Tab", b'\t')],
        b'U' => &[(b"UnderBar", b'_')],
        b'V' => &[(b"VerticalLine", b'|')],
        b'Z' => &[(b"ZeroWidthSpace", b' ')],
        b'a' => &[(b"amp", b'&'), (b"apos", b'\''), (b"ast", b'*')],
        b'b' => &[(b"bsol", b'\\')],
        b'c' => &[(b"colon", b':'), (b"comma", b','), (b"commat", b'@')],
        b'd' => &[(b"dollar", b'$'), (b"dash", b'-')],
        b'e' => &[(b"equals", b'='), (b"excl", b'!')],
        b'g' => &[(b"gt", b'>'), (b"grave", b'`')],
        b'h' => &[(b"hyphen", b'-')],
        b'l' => &[
            (b"lt", b'<'),
            (b"lpar", b'('),
            (b"lsqb", b'['),
            (b"lbrack", b'['),
            (b"lcub", b'{'),
            (b"lbrace", b'{'),
            (b"lowbar", b'_'),
        ],
        b'm' => &[(b"midast", b'*'), (b"minus", b'-')],
        b'n' => &[(b"num", b'#'), (b"nbsp", b' ')],
        b'p' => &[(b"plus", b'+'), (b"period", b'.'), (b"percnt", b'%')],
        b'q' => &[(b"quot", b'"'), (b"quest", b'?')],
        b'r' => &[
            (b"rpar", b')'),
            (b"rsqb", b']'),
            (b"rbrack", b']'),
            (b"rcub", b'}'),
            (b"rbrace", b'}'),
        ],
        b's' => &[(b"sol", b'/'), (b"semi", b';'), (b"shy", b' ')],
        b't' => &[(b"tilde", b'~')],
        b'v' => &[(b"verbar", b'|'), (b"vert", b'|')],
        _ => &[],
    }
}

/// Characters that begin an escape.
pub(super) const INTRODUCERS: [u8; 4] = [b'\\', b'%', b'&', b'='];

/// A reading: the byte that is meant, and the position behind its spelling.
type Found<'f> = dyn FnMut(u8, usize) + 'f;

/// A text that is read at any position.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Whether nothing follows them.
    pub complete: bool,
}

impl Text<'_> {
    /// Calls `found` with each reading at a position. Returns whether there may be another one when more of the text
    /// is known.
    pub fn readings(&self, at: usize, depth: u8, found: &mut Found<'_>) -> bool {
        let Some(byte) = self.bytes.get(at).copied() else { return !self.complete };
        let after = at.saturating_add(1);
        found(byte, after);
        // Spec: `application/x-www-form-urlencoded`.
        if byte == b'+' {
            found(b' ', after);
        }
        if depth == 0 || !INTRODUCERS.contains(&byte) {
            return false;
        }
        // What introduces an escape may be written as one: first as it is, then by each that was found.
        let mut introduced = [(byte, after, depth); INTRODUCED];
        let (mut count, mut next, mut more) = (1_usize, 0_usize, false);
        let parts = depth.saturating_sub(1).min(PARTS_DEPTH);
        while let Some((introducer, after, left)) =
            introduced.get(next).copied().filter(|_| next < count)
        {
            next = next.saturating_add(1);
            more |= self.escape(introducer, after, parts, &mut |byte, after| {
                found(byte, after);
                let known = introduced.get(..count).unwrap_or_default();
                let nested = left > 1
                    && INTRODUCERS.contains(&byte)
                    && !known.iter().any(|known| (known.0, known.1) == (byte, after));
                if nested && let Some(free) = introduced.get_mut(count) {
                    *free = (byte, after, left.saturating_sub(1));
                    count = count.saturating_add(1);
                }
            });
        }
        more
    }

    /// The readings of what follows an introducer.
    fn escape(&self, introducer: u8, at: usize, depth: u8, found: &mut Found<'_>) -> bool {
        match introducer {
            b'\\' => self.backslash(at, depth, found),
            b'%' => self.percent(at, depth, found),
            b'&' => self.entity(at, depth, found),
            _ => self.quoted_printable(at, depth, found),
        }
    }

    /// `\/`, `\n`, `\x2f`, `\u002f`, `\u{2f}`, `\U0000002f`, `\057` (C), `\2f` (LDAP, CSS).
    fn backslash(&self, at: usize, depth: u8, found: &mut Found<'_>) -> bool {
        let mut more = self.number(at, 8, 3, depth, found);
        more |= self.number(at, 16, 6, depth, found);
        let read = self.readings(at, depth, &mut |letter, after| {
            found(letter, after);
            match letter {
                b'n' => found(b'\n', after),
                b'r' => found(b'\r', after),
                b't' => found(b'\t', after),
                b'u' | b'U' | b'x' => {
                    more |= self.number(after, 16, DIGITS, depth, found);
                    let (brace, unread) = self.next(after, depth, |byte| byte == b'{');
                    more |= unread;
                    if let Some(after) = brace {
                        more |= self.closed_number(after, depth, found);
                    }
                }
                _ => {}
            }
        });
        more | read
    }

    /// `2f}`.
    fn closed_number(&self, at: usize, depth: u8, found: &mut Found<'_>) -> bool {
        let mut unclosed = false;
        let more = self.number(at, 16, DIGITS, depth, &mut |byte, after| {
            let (brace, unread) = self.next(after, depth, |byte| byte == b'}');
            unclosed |= unread;
            if let Some(after) = brace {
                found(byte, after);
            }
        });
        more | unclosed
    }

    /// `%2f`, `%u002f`.
    fn percent(&self, at: usize, depth: u8, found: &mut Found<'_>) -> bool {
        let more = self.number(at, 16, 2, depth, found);
        let (letter, unread) = self.next(at, depth, |byte| byte == b'u');
        let long = letter.is_some_and(|after| self.number(after, 16, 4, depth, found));
        more | unread | long
    }

    /// `=2F`, and the end of a line that goes on in the next. Spec: RFC 2045 §6.7.
    fn quoted_printable(&self, at: usize, depth: u8, found: &mut Found<'_>) -> bool {
        let more = self.number(at, 16, 2, depth, found);
        let (end, unread) = self.next(at, depth, |byte| byte == b'\r' || byte == b'\n');
        if let Some(after) = end {
            found(b'\n', after);
        }
        more | unread
    }

    /// `&amp;`, `&#47;`, `&#x2f;`; the semicolon may be missing.
    fn entity(&self, at: usize, depth: u8, found: &mut Found<'_>) -> bool {
        let mut unread = false;
        let mut ended = |byte: u8, after: usize| {
            found(byte, after);
            let (semicolon, more) = self.next(after, depth, |byte| byte == b';');
            unread |= more;
            if let Some(after) = semicolon {
                found(byte, after);
            }
        };
        let rest = self.bytes.get(at..).unwrap_or_default();
        let mut more = false;
        let first = rest.first().copied();
        for (name, byte) in first.map(names).unwrap_or_default() {
            if rest.starts_with(name) {
                ended(*byte, at.saturating_add(name.len()));
            }
            more |= !self.complete && rest.len() < name.len() && name.starts_with(rest);
        }
        let (hash, no_hash) = self.next(at, depth, |byte| byte == b'#');
        more |= no_hash;
        if let Some(after) = hash {
            more |= self.number(after, 10, DIGITS, depth, &mut ended);
            let (hex, no_hex) = self.next(after, depth, |byte| byte == b'x' || byte == b'X');
            more |= no_hex;
            if let Some(after) = hex {
                more |= self.number(after, 16, DIGITS, depth, &mut ended);
            }
        }
        more | unread
    }

    /// Reads a number, and gives the byte after each of its digits: where it ends is not always written.
    fn number(&self, at: usize, radix: u32, most: u8, depth: u8, found: &mut Found<'_>) -> bool {
        let (mut at, mut value) = (at, 0_u32);
        for _ in 0..most {
            let (digit, more) = self.pick(at, depth, |byte| char::from(byte).to_digit(radix));
            let Some((digit, after)) = digit else { return more };
            value = value.saturating_mul(radix).saturating_add(digit);
            at = after;
            if let Ok(byte) = u8::try_from(value) {
                found(byte, after);
            }
        }
        false
    }

    /// The position behind a character that is wanted, and whether more of the text has to be known.
    fn next(&self, at: usize, depth: u8, wanted: impl Fn(u8) -> bool) -> (Option<usize>, bool) {
        let (found, more) = self.pick(at, depth, |byte| wanted(byte).then_some(()));
        (found.map(|((), after)| after), more)
    }

    fn pick<T>(
        &self,
        at: usize,
        depth: u8,
        wanted: impl Fn(u8) -> Option<T>,
    ) -> (Option<(T, usize)>, bool) {
        if let Some(byte) = self.bytes.get(at).copied()
            && let value = wanted(byte)
            && (value.is_some() || depth == 0 || !INTRODUCERS.contains(&byte))
        {
            return (value.map(|value| (value, at.saturating_add(1))), false);
        }
        let mut first = None;
        let more = self.readings(at, depth, &mut |byte, after| {
            if first.is_none() {
                first = wanted(byte).map(|value| (value, after));
            }
        });
        let more = more && first.is_none();
        (first, more)
    }
}
