//! Roots and proofs of any size of a log, read from its tiles: a few of them for each question.

use std::{cell::RefCell, collections::HashMap};

use super::{
    frontier::Frontier,
    hash::{EMPTY_ROOT, Hash, node_hash},
    proof::{ConsistencyProof, InclusionProof},
    tile::TileId,
};

/// Where tiles come from.
pub trait Tiles {
    /// Why one did not come.
    type Error;
    /// The hashes of a tile, as many as it is wide.
    ///
    /// # Errors
    /// When it can't be had.
    fn tile(&self, id: TileId) -> Result<Vec<Hash>, Self::Error>;
}

/// Why there is no such root or proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError<E> {
    /// The tree is smaller.
    #[error("the log has {size} entries; {asked} is beyond it")]
    Beyond {
        /// What was asked for.
        asked: u64,
        /// Entries of the log.
        size: u64,
    },
    /// A tile was not to be had, or is too narrow.
    #[error("a tile is missing or cut: {0}")]
    Cut(TileId),
    /// The source failed.
    #[error("{0}")]
    Source(E),
}

/// A log of a certain size, over its tiles.
pub struct Tree<'a, T: Tiles> {
    tiles: &'a T,
    size: u64,
    seen: RefCell<HashMap<TileId, Vec<Hash>>>,
}

impl<'a, T: Tiles> Tree<'a, T> {
    /// The log as it was with `size` entries.
    pub fn new(tiles: &'a T, size: u64) -> Self {
        Self { tiles, size, seen: RefCell::default() }
    }

    /// Its root.
    ///
    /// # Errors
    /// When a tile can't be had.
    pub fn root(&self) -> Result<Hash, TreeError<T::Error>> {
        if self.size == 0 { Ok(EMPTY_ROOT) } else { self.range(0, self.size) }
    }

    /// Its right edge, to go on appending.
    ///
    /// # Errors
    /// When a tile can't be had.
    pub fn frontier(&self) -> Result<Frontier, TreeError<T::Error>> {
        let mut roots = Vec::new();
        let mut from = 0_u64;
        for height in (0..u64::BITS).rev().filter(|height| self.size >> height & 1 == 1) {
            roots.push(self.perfect(height, from >> height)?);
            from = from.saturating_add(1 << height);
        }
        Frontier::from_parts(self.size, roots)
            .ok_or(TreeError::Beyond { asked: self.size, size: self.size })
    }

    /// Proves that an entry is in it (RFC 9162 §2.1.3.1).
    ///
    /// # Errors
    /// When it has no such entry, or a tile can't be had.
    pub fn inclusion(&self, index: u64) -> Result<InclusionProof, TreeError<T::Error>> {
        if index >= self.size {
            return Err(TreeError::Beyond { asked: index, size: self.size });
        }
        let (mut low, mut high) = (0, self.size);
        let mut path = Vec::new();
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                path.push(self.range(middle, high)?);
                high = middle;
            } else {
                path.push(self.range(low, middle)?);
                low = middle;
            }
        }
        path.reverse();
        Ok(InclusionProof { index, size: self.size, path })
    }

    /// Proves that it begins with the `old` entries that it had before (RFC 9162 §2.1.4.1).
    ///
    /// # Errors
    /// When it has fewer entries, or a tile can't be had.
    pub fn consistency(&self, old: u64) -> Result<ConsistencyProof, TreeError<T::Error>> {
        if old > self.size {
            return Err(TreeError::Beyond { asked: old, size: self.size });
        }
        let mut path = Vec::new();
        if old > 0 && old < self.size {
            let (mut low, mut high) = (0, self.size);
            // Whether the range is one that the verifier of the old root knows already.
            let mut known = true;
            while old != high {
                let middle = low + split(high - low);
                if old <= middle {
                    path.push(self.range(middle, high)?);
                    high = middle;
                } else {
                    path.push(self.range(low, middle)?);
                    low = middle;
                    known = false;
                }
            }
            if !known {
                path.push(self.range(low, high)?);
            }
            path.reverse();
        }
        Ok(ConsistencyProof { old, new: self.size, path })
    }

    /// Root over the entries from `low` to before `high`.
    fn range(&self, low: u64, high: u64) -> Result<Hash, TreeError<T::Error>> {
        let count = high - low;
        if count.is_power_of_two() {
            let height = count.trailing_zeros();
            return self.perfect(height, low >> height);
        }
        let middle = low + split(count);
        Ok(node_hash(&self.range(low, middle)?, &self.range(middle, high)?))
    }

    /// Root of a perfect subtree: combined from one tile.
    fn perfect(&self, height: u32, place: u64) -> Result<Hash, TreeError<T::Error>> {
        let level = u8::try_from(height / 8).unwrap_or(u8::MAX);
        let first = place << (height % 8);
        let id = TileId::holding(level, first, self.size)
            .ok_or(TreeError::Beyond { asked: first, size: self.size })?;
        if !self.seen.borrow().contains_key(&id) {
            let hashes = self.tiles.tile(id).map_err(TreeError::Source)?;
            self.seen.borrow_mut().insert(id, hashes);
        }
        let seen = self.seen.borrow();
        let from = usize::try_from(first % 256).unwrap_or(usize::MAX);
        let hashes = seen
            .get(&id)
            .and_then(|hashes| hashes.get(from..from.saturating_add(1 << (height % 8))))
            .ok_or(TreeError::Cut(id))?;
        let mut row = hashes.to_vec();
        while row.len() > 1 {
            row =
                row.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
        }
        row.first().copied().ok_or(TreeError::Cut(id))
    }
}

/// The largest power of two below a number above 1.
fn split(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}
