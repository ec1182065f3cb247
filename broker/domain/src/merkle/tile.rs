//! Tiles: how the hashes and the entries of a log are cut into files (C2SP tlog-tiles).

use std::fmt;

use super::hash::Hash;

/// Hashes of a full tile, and entries of a full bundle.
pub const TILE_WIDTH: u64 = 256;
/// The same, as widths are counted.
const FULL: u16 = 256;
/// Highest level of a tile. Why: 256 to the eighth leaves are more than any log has.
const LEVEL_MOST: u8 = 7;

/// Why a path or a file is none of a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// Not a path of a tile.
    #[error("`{0}` is no path of a tile; one looks like `tile/0/x001/234` or `tile/0/017.p/5`")]
    Path(String),
    /// Cut, or of another size than its path says.
    #[error("a tile of {0} bytes; each hash takes 32")]
    Size(usize),
    /// A bundle whose lengths do not add up.
    #[error("the bundle of entries is cut or has bytes left over")]
    Bundle,
}

/// Names one tile of hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// 0 holds leaves; each hash of level n stands for a full tile of level n - 1.
    pub level: u8,
    /// Place in its level, from 0.
    pub index: u64,
    /// Hashes in it: 256, or fewer at the right edge.
    pub width: u16,
}

/// Names one bundle of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId {
    /// Place, from 0.
    pub index: u64,
    /// Entries in it: 256, or fewer at the right edge.
    pub width: u16,
}

impl TileId {
    /// The tile that holds the hash at `place` of a level, as wide as a log of `size` entries has
    /// it; `None` if that log has no such hash.
    #[must_use]
    pub fn holding(level: u8, place: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(u32::from(level) * 8).unwrap_or(0);
        let index = place / TILE_WIDTH;
        let width = hashes.saturating_sub(index.saturating_mul(TILE_WIDTH)).min(TILE_WIDTH);
        (level <= LEVEL_MOST && place < hashes)
            .then(|| u16::try_from(width).ok().map(|width| Self { level, index, width }))
            .flatten()
    }

    /// A full tile.
    #[must_use]
    pub fn full(level: u8, index: u64) -> Self {
        Self { level, index, width: FULL }
    }

    /// Whether it holds as many hashes as a tile can.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.width == FULL
    }

    /// Reads a path below the log's address. Strict: one path for each tile.
    ///
    /// # Errors
    /// When it is no such path.
    pub fn parse(path: &str) -> Result<Self, TileError> {
        let bad = || TileError::Path(crate::id::quote(path));
        let rest = path.strip_prefix("tile/").ok_or_else(bad)?;
        let (level, rest) = rest.split_once('/').ok_or_else(bad)?;
        let level = number(level).and_then(|level| u8::try_from(level).ok()).ok_or_else(bad)?;
        let (index, width) = parse_place(rest).ok_or_else(bad)?;
        if level > LEVEL_MOST { Err(bad()) } else { Ok(Self { level, index, width }) }
    }

    /// Reads the file of a tile.
    ///
    /// # Errors
    /// When it holds another number of hashes.
    pub fn hashes(self, bytes: &[u8]) -> Result<Vec<Hash>, TileError> {
        let (chunks, rest) = bytes.as_chunks::<{ Hash::BYTES }>();
        if rest.is_empty() && chunks.len() == usize::from(self.width) {
            Ok(chunks.iter().map(|chunk| Hash(*chunk)).collect())
        } else {
            Err(TileError::Size(bytes.len()))
        }
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        write_place(f, self.index, self.width)
    }
}

impl BundleId {
    /// The bundle that holds an entry, as wide as a log of `size` entries has it.
    #[must_use]
    pub fn holding(entry: u64, size: u64) -> Option<Self> {
        TileId::holding(0, entry, size).map(|TileId { index, width, .. }| Self { index, width })
    }

    /// Reads a path below the log's address. Strict: one path for each bundle.
    ///
    /// # Errors
    /// When it is no such path.
    pub fn parse(path: &str) -> Result<Self, TileError> {
        let place = path.strip_prefix("tile/entries/").and_then(parse_place);
        let (index, width) = place.ok_or_else(|| TileError::Path(crate::id::quote(path)))?;
        Ok(Self { index, width })
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tile/entries/")?;
        write_place(f, self.index, self.width)
    }
}

/// Joins entries to a bundle: each behind its length in 16 bits, big-endian. `None` if one is longer
/// than such a length can say.
#[must_use]
pub fn bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(u16::try_from(entry.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Some(bytes)
}

/// Takes a bundle apart.
///
/// # Errors
/// When it is cut or has bytes left over.
pub fn unbundle(mut bytes: &[u8]) -> Result<Vec<&[u8]>, TileError> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<2>().ok_or(TileError::Bundle)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, rest) = rest.split_at_checked(length).ok_or(TileError::Bundle)?;
        entries.push(entry);
        bytes = rest;
    }
    Ok(entries)
}

/// `x001/x234/067` for 1,234,067, and `.p/5` behind it for a tile of five.
fn write_place(f: &mut fmt::Formatter<'_>, index: u64, width: u16) -> fmt::Result {
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.reverse();
    f.write_str(&groups.join("/"))?;
    if width == FULL { Ok(()) } else { write!(f, ".p/{width}") }
}

fn parse_place(text: &str) -> Option<(u64, u16)> {
    let (path, width) = match text.split_once(".p/") {
        None => (text, FULL),
        Some((path, width)) => {
            (path, u16::try_from(number(width)?).ok().filter(|width| (1..FULL).contains(width))?)
        }
    };
    let mut index = 0_u64;
    let groups: Vec<&str> = path.split('/').collect();
    let (last, above) = groups.split_last()?;
    for group in above.iter().map(|group| group.strip_prefix('x')).chain([Some(*last)]) {
        let digits = group.filter(|digits| {
            digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit())
        })?;
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    // Why: `x000/001` would be a second name of tile 1.
    (above.first().is_none_or(|first| *first != "x000")).then_some((index, width))
}

/// A decimal number without leading zeros.
fn number(text: &str) -> Option<u64> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_one_path() {
        for (path, level, index, width) in [
            ("tile/0/000", 0, 0, 256),
            ("tile/0/x001/x234/067", 0, 1_234_067, 256),
            ("tile/1/017.p/5", 1, 17, 5),
            ("tile/7/x001/000.p/255", 7, 1000, 255),
        ] {
            let tile = TileId { level, index, width };
            assert_eq!(tile.to_string(), path);
            assert_eq!(TileId::parse(path), Ok(tile));
        }
        for path in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/00/000",
            "tile/8/000",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/x001/x002",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/05",
            "tile/0/000.p/",
            "tile/-1/000",
            "/tile/0/000",
            "tile/0/000/",
            "tile/0/+01",
            "tile/entries/000",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert!(TileId::parse(path).is_err(), "{path}");
        }
        assert_eq!(
            BundleId::parse("tile/entries/x001/002.p/3"),
            Ok(BundleId { index: 1002, width: 3 })
        );
    }

    #[test]
    fn a_bundle_comes_apart_into_what_was_joined_and_cut_ones_do_not() {
        let entries: [&[u8]; 3] = [b"one", b"", b"three"];
        let bytes = bundle(entries).unwrap();
        assert_eq!(unbundle(&bytes).unwrap(), entries);
        for end in [1, 4, 6, bytes.len() - 1] {
            assert_eq!(unbundle(&bytes[..end]), Err(TileError::Bundle), "{end}");
        }
        assert_eq!(bundle([&[0_u8; 65_536][..]]), None);
    }

    #[test]
    fn the_right_edge_of_a_log_has_narrow_tiles() {
        assert_eq!(TileId::holding(0, 0, 1), Some(TileId { level: 0, index: 0, width: 1 }));
        assert_eq!(TileId::holding(0, 255, 300), Some(TileId { level: 0, index: 0, width: 256 }));
        assert_eq!(TileId::holding(0, 299, 300), Some(TileId { level: 0, index: 1, width: 44 }));
        assert_eq!(TileId::holding(1, 0, 300), Some(TileId { level: 1, index: 0, width: 1 }));
        assert_eq!(TileId::holding(1, 1, 300), None);
        assert_eq!(TileId::holding(0, 300, 300), None);
    }
}
