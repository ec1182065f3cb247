//! The right edge of the log's tree, and its tiles in the file.
//!
//! A full tile is written in the commit that fills it, so that proofs read a handful of rows however
//! long the log is. What is not full yet lives here and is read anew from the entries at a start.

use jeton_domain::merkle::{Frontier, Hash, TILE_WIDTH, TileId, Tiles, Tree, leaf_hash};
use rusqlite::{Connection, OptionalExtension, params};

use super::{schema::broken, writer::int};
use crate::store::StoreError;

/// Bits of a tile's place that hold its index.
const INDEX_BITS: u32 = 48;

/// The right edge.
pub(super) struct Edge {
    frontier: Frontier,
    levels: Vec<Vec<Hash>>,
}

/// A tile that became full.
pub(super) struct Full {
    pub place: i64,
    pub root: Hash,
    pub bytes: Vec<u8>,
}

impl Edge {
    /// Reads it from what is committed.
    pub fn read(db: &Connection) -> Result<Self, StoreError> {
        let size = log_size(db)?;
        let tiles = FileTiles(db);
        let frontier = Tree::new(&tiles, size)
            .frontier()
            .map_err(|error| StoreError::Broken(error.to_string()))?;
        let mut levels = Vec::new();
        for level in 0_u8.. {
            let hashes = size.checked_shr(u32::from(level) * 8).unwrap_or(0);
            if hashes == 0 {
                break;
            }
            levels.push(match hashes % TILE_WIDTH {
                0 => Vec::new(),
                _ => match TileId::holding(level, hashes.saturating_sub(1), size) {
                    Some(id) => tiles.tile(id)?,
                    None => Vec::new(),
                },
            });
        }
        Ok(Self { frontier, levels })
    }

    /// Entries so far.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// What appending and roots need.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Appends a leaf and gives the tiles that it filled.
    pub fn push(&mut self, leaf: Hash) -> Vec<Full> {
        let mut full = Vec::new();
        let mut hash = leaf;
        let mut place = self.frontier.size();
        self.frontier.push(leaf);
        for level in 0_u8.. {
            let depth = usize::from(level);
            if self.levels.len() == depth {
                self.levels.push(Vec::new());
            }
            let Some(row) = self.levels.get_mut(depth) else { break };
            row.push(hash);
            if u64::try_from(row.len()).is_ok_and(|count| count < TILE_WIDTH) {
                break;
            }
            hash = root_of(row);
            let bytes = row.iter().flat_map(|hash| hash.0).collect();
            full.push(Full { place: tile_place(level, place / TILE_WIDTH), root: hash, bytes });
            row.clear();
            place /= TILE_WIDTH;
        }
        full
    }
}

/// Tiles of a store file: full ones from their rows, the last of a level from what lies below.
pub(super) struct FileTiles<'a>(pub &'a Connection);

impl Tiles for FileTiles<'_> {
    type Error = StoreError;

    fn tile(&self, id: TileId) -> Result<Vec<Hash>, StoreError> {
        let missing = || StoreError::Broken(format!("the log's {id} is missing or cut"));
        if u64::from(id.width) == TILE_WIDTH {
            let bytes: Option<Vec<u8>> = self
                .0
                .prepare_cached("SELECT hashes FROM tile WHERE place = ?1")
                .and_then(|mut statement| {
                    statement
                        .query_row([tile_place(id.level, id.index)], |row| row.get(0))
                        .optional()
                })
                .map_err(broken)?;
            return id.hashes(&bytes.ok_or_else(missing)?).map_err(|_| missing());
        }
        let first = id.index.saturating_mul(TILE_WIDTH);
        let hashes = match id.level.checked_sub(1) {
            None => self.leaves(first, id.width)?,
            Some(below) => self.roots(tile_place(below, first), id.width)?,
        };
        if hashes.len() == usize::from(id.width) { Ok(hashes) } else { Err(missing()) }
    }
}

impl FileTiles<'_> {
    fn leaves(&self, first: u64, count: u16) -> Result<Vec<Hash>, StoreError> {
        let sql = "SELECT text FROM entry WHERE place >= ?1 ORDER BY place LIMIT ?2";
        let mut statement = self.0.prepare_cached(sql).map_err(broken)?;
        let hash = |row: &rusqlite::Row<'_>| Ok(leaf_hash(row.get_ref(0)?.as_str()?.as_bytes()));
        let rows = statement.query_map(params![int(first), count], hash).map_err(broken)?;
        rows.collect::<rusqlite::Result<_>>().map_err(broken)
    }

    fn roots(&self, first: i64, count: u16) -> Result<Vec<Hash>, StoreError> {
        let sql = "SELECT root FROM tile WHERE place >= ?1 ORDER BY place LIMIT ?2";
        let mut statement = self.0.prepare_cached(sql).map_err(broken)?;
        let hash = |row: &rusqlite::Row<'_>| row.get::<_, [u8; 32]>(0).map(Hash);
        let rows = statement.query_map(params![first, count], hash).map_err(broken)?;
        rows.collect::<rusqlite::Result<_>>().map_err(broken)
    }
}

/// Entries in a file.
pub(super) fn log_size(db: &Connection) -> Result<u64, StoreError> {
    let next: i64 = db
        .query_row("SELECT COALESCE(MAX(place) + 1, 0) FROM entry", [], |row| row.get(0))
        .map_err(broken)?;
    u64::try_from(next).map_err(|_| StoreError::Broken("the log's size is negative".into()))
}

fn tile_place(level: u8, index: u64) -> i64 {
    int((u64::from(level) << INDEX_BITS) | index)
}

fn root_of(row: &[Hash]) -> Hash {
    let mut tree = Frontier::new();
    row.iter().for_each(|hash| tree.push(*hash));
    tree.root()
}
