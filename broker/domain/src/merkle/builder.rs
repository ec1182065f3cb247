//! Cuts a growing log into tiles: whatever appends or checks entries gets each tile as it fills.

use super::{
    frontier::Frontier,
    hash::Hash,
    tile::{TILE_WIDTH, TileId},
    tree::{Tiles, Tree, TreeError},
};

/// Levels of tiles over each other: a hash of one stands for 2^8 of the level below.
const LEVEL_BITS: u32 = 8;

/// The right edge of a log: all that is needed to append, and the tiles that are not full yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TileBuilder {
    frontier: Frontier,
    levels: Vec<Vec<Hash>>,
}

/// A tile that became full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullTile {
    /// Which.
    pub id: TileId,
    /// Its hashes.
    pub hashes: Vec<Hash>,
    /// The root over them: a hash of the level above.
    pub root: Hash,
}

impl TileBuilder {
    /// The edge of the empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of a log of `size` entries, read from its tiles.
    ///
    /// # Errors
    /// When a tile can't be had.
    pub fn read<T: Tiles>(tiles: &T, size: u64) -> Result<Self, TreeError<T::Error>> {
        let frontier = Tree::new(tiles, size).frontier()?;
        let mut levels = Vec::new();
        for level in 0_u8.. {
            let hashes = size.checked_shr(u32::from(level) * LEVEL_BITS).unwrap_or(0);
            if hashes == 0 {
                break;
            }
            let last = TileId::holding(level, hashes.saturating_sub(1), size);
            levels.push(match last.filter(|id| !id.is_full()) {
                Some(id) => tiles.tile(id).map_err(TreeError::Source)?,
                None => Vec::new(),
            });
        }
        Ok(Self { frontier, levels })
    }

    /// Entries so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// What roots need.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Appends a leaf and gives the tiles that it filled, the lowest first.
    pub fn push(&mut self, leaf: Hash) -> Vec<FullTile> {
        let levels = &mut self.levels;
        let mut place = self.frontier.size();
        self.frontier.push_with(leaf, |height, root| {
            if height % LEVEL_BITS == 0 {
                let level = usize::try_from(height / LEVEL_BITS).unwrap_or(usize::MAX);
                match levels.get_mut(level) {
                    Some(row) => row.push(root),
                    // Levels come into being one after the other, from below.
                    None => levels.push(vec![root]),
                }
            }
        });
        let mut full = Vec::new();
        for level in 0_u8..=u8::MAX {
            place /= TILE_WIDTH;
            let depth = usize::from(level);
            let above = levels.get(depth.saturating_add(1)).and_then(|row| row.last()).copied();
            let Some(row) = levels.get_mut(depth) else { break };
            let (Some(root), true) = (above, row.len() == FULL) else { break };
            let id = TileId::full(level, place);
            full.push(FullTile { id, hashes: std::mem::take(row), root });
        }
        full
    }

    /// The tiles at the right edge that are not full.
    pub fn partial(&self) -> impl Iterator<Item = (TileId, &[Hash])> {
        let size = self.size();
        (0_u8..).zip(&self.levels).filter_map(move |(level, row)| {
            let hashes = size.checked_shr(u32::from(level) * LEVEL_BITS).unwrap_or(0);
            let id = TileId::holding(level, hashes.checked_sub(1)?, size)?;
            (!row.is_empty()).then_some((id, row.as_slice()))
        })
    }
}

/// Hashes of a full tile, as lengths of vectors are counted.
const FULL: usize = 256;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::merkle::leaf_hash;

    struct Kept<'a>(&'a BTreeMap<TileId, Vec<Hash>>, &'a TileBuilder);

    impl Tiles for Kept<'_> {
        type Error = TileId;
        fn tile(&self, id: TileId) -> Result<Vec<Hash>, TileId> {
            let partial = self.1.partial().find(|(known, _)| *known == id);
            partial.map(|(_, row)| row.to_vec()).or_else(|| self.0.get(&id).cloned()).ok_or(id)
        }
    }

    /// Size of a log that fills a tile of the second level and a bit.
    const SIZE: u64 = 256 * 256 + 300;

    #[test]
    fn the_tiles_of_a_grown_log_give_its_root_and_its_edge() {
        let (mut grown, mut plain) = (TileBuilder::new(), Frontier::new());
        let mut kept = BTreeMap::new();
        for place in 0..SIZE {
            let leaf = leaf_hash(&place.to_be_bytes());
            plain.push(leaf);
            for tile in grown.push(leaf) {
                let mut over = Frontier::new();
                tile.hashes.iter().for_each(|hash| over.push(*hash));
                assert_eq!(over.root(), tile.root, "{}", tile.id);
                assert_eq!(kept.insert(tile.id, tile.hashes), None);
            }
            if place % 9973 == 0 || place + 1 == SIZE || place == 255 || place == 256 * 256 - 1 {
                let tiles = Kept(&kept, &grown);
                assert_eq!(Tree::new(&tiles, place + 1).root(), Ok(plain.root()), "{place}");
                assert_eq!(TileBuilder::read(&tiles, place + 1), Ok(grown.clone()), "{place}");
            }
        }
        assert_eq!(grown.frontier(), &plain);
        let names: Vec<String> = grown.partial().map(|(id, _)| id.to_string()).collect();
        assert_eq!(names, ["tile/0/257.p/44", "tile/1/001.p/1", "tile/2/000.p/1"]);
        assert_eq!(kept.len(), 257 + 1);
    }
}
