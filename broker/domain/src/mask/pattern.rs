//! What is looked for: a credential as a row of symbols of one alphabet.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use zeroize::Zeroizing;

use crate::limits::{MASK_BYTES_MORE, MASK_BYTES_PER_SYMBOL};

/// How symbols are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Each byte as it is.
    Plain,
    /// RFC 4648 §4 and §5.
    Base64,
    /// RFC 4648 §8, either case.
    Hex,
}

impl Alphabet {
    /// The symbol that a byte is.
    pub fn symbol(self, byte: u8) -> Option<u8> {
        match self {
            Self::Plain => Some(byte),
            Self::Base64 => match byte {
                b'A'..=b'Z' => byte.checked_sub(b'A'),
                b'a'..=b'z' => byte.checked_sub(b'a' - 26),
                b'0'..=b'9' => byte.checked_add(52 - b'0'),
                b'+' | b'-' => Some(62),
                b'/' | b'_' => Some(63),
                _ => None,
            },
            Self::Hex => match byte {
                b'0'..=b'9' => byte.checked_sub(b'0'),
                b'a'..=b'f' => byte.checked_sub(b'a' - 10),
                b'A'..=b'F' => byte.checked_sub(b'A' - 10),
                _ => None,
            },
        }
    }

    /// Whether a byte may stand between two symbols: the end of a line and what begins the next one, quotes of
    /// strings that are joined, commas of lists, the zeros of UTF-16.
    pub fn separates(self, byte: u8) -> bool {
        self.separators().contains(&byte)
    }

    /// All of those.
    pub fn separators(self) -> &'static [u8] {
        match self {
            Self::Plain | Self::Base64 => b" \t\r\n\0\"',+>",
            Self::Hex => b" \t\r\n\0\"',+>:-;",
        }
    }

    /// The two bytes that are this symbol, unescaped; they may be the same.
    pub fn bytes(self, symbol: u8) -> [u8; 2] {
        match self {
            Self::Plain if symbol == b' ' => [b' ', b'+'],
            Self::Plain => [symbol; 2],
            Self::Base64 => match symbol {
                0..26 => [b'A'.saturating_add(symbol); 2],
                26..52 => [(b'a' - 26).saturating_add(symbol); 2],
                52..62 => [symbol.saturating_sub(52).saturating_add(b'0'); 2],
                62 => [b'+', b'-'],
                _ => [b'/', b'_'],
            },
            Self::Hex => match symbol {
                0..10 => [b'0'.saturating_add(symbol); 2],
                _ => [(b'a' - 10).saturating_add(symbol), (b'A' - 10).saturating_add(symbol)],
            },
        }
    }
}

/// One row of symbols.
pub(super) struct Pattern {
    /// How they are written.
    pub alphabet: Alphabet,
    /// The symbols.
    pub symbols: Zeroizing<Vec<u8>>,
    /// Bytes of the credential that they are.
    length: usize,
    /// A symbol before them that the credential determines in part: the bits, and their value.
    pub before: Option<(u8, u8)>,
    /// The same behind them.
    pub after: Option<(u8, u8)>,
}

impl Pattern {
    /// The bytes as they are.
    pub fn plain(bytes: &[u8]) -> Self {
        Self::of(Alphabet::Plain, bytes.to_vec(), bytes.len())
    }

    /// The bytes as a list of numbers.
    pub fn decimals(bytes: &[u8]) -> Self {
        let digits = bytes.iter().flat_map(|byte| byte.to_string().into_bytes());
        Self::of(Alphabet::Plain, digits.collect(), bytes.len())
    }

    /// The bytes in hex.
    pub fn hex(bytes: &[u8]) -> Self {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        Self::of(Alphabet::Hex, digits.collect(), bytes.len())
    }

    /// The bytes in base64, so many bytes behind the beginning of a group of three. What the bytes do not determine
    /// alone is not among the symbols.
    pub fn base64(bytes: &[u8], skipped: usize) -> Self {
        // How many characters the bytes before determine in part or whole, and the bits of the last of them that are
        // of the first byte.
        let (characters, first) = match skipped % 3 {
            0 => (0, 0),
            1 => (2, 4),
            _ => (3, 2),
        };
        let known = bytes.len().saturating_mul(8).saturating_sub(first);
        let (whole, left) = (known / 6, known % 6);
        let padded = Zeroizing::new(
            [[0_u8; 2].as_slice().get(..skipped % 3).unwrap_or_default(), bytes].concat(),
        );
        let text = Zeroizing::new(STANDARD_NO_PAD.encode(padded.as_slice()));
        let mut symbols = text.bytes().filter_map(|byte| Alphabet::Base64.symbol(byte));
        let before = symbols.by_ref().take(characters).last();
        let own: Vec<u8> = symbols.by_ref().take(whole).collect();
        let before = before.map(|value| (0x3f_u8 >> (6 - first), value));
        let after = symbols.next().map(|value| ((0x3f_u8 << (6 - left)) & 0x3f, value));
        Self { before, after, ..Self::of(Alphabet::Base64, own, bytes.len()) }
    }

    fn of(alphabet: Alphabet, symbols: Vec<u8>, length: usize) -> Self {
        Self { alphabet, symbols: Zeroizing::new(symbols), length, before: None, after: None }
    }

    /// Bytes of the credential that so many symbols are, rounded up.
    pub fn bytes_of(&self, symbols: usize) -> usize {
        symbols.saturating_mul(self.length).div_ceil(self.symbols.len().max(1))
    }

    /// Longest spelling that is followed, in bytes.
    pub fn longest(&self) -> usize {
        self.symbols.len().saturating_mul(MASK_BYTES_PER_SYMBOL).saturating_add(MASK_BYTES_MORE)
    }
}
