//! The right edge of the log's tree, and its tiles in the file.
//!
//! A full tile is written in the commit that fills it, so that proofs read a handful of rows however
//! long the log is. What is not full yet lives in memory and is read anew from the entries at a start.

use jeton_domain::merkle::{Hash, TILE_WIDTH, TileBuilder, TileId, Tiles, leaf_hash};
use rusqlite::{Connection, OptionalExtension, params};

use super::{schema::broken, writer::int};
use crate::store::StoreError;

/// Bits of a tile's place that hold its index.
const INDEX_BITS: u32 = 48;

/// Reads the right edge from what is committed.
pub(super) fn read_edge(db: &Connection) -> Result<TileBuilder, StoreError> {
    TileBuilder::read(&FileTiles(db), log_size(db)?)
        .map_err(|error| StoreError::Broken(error.to_string()))
}

/// Tiles of a store file: full ones from their rows, the last of a level from what lies below.
pub(super) struct FileTiles<'a>(pub &'a Connection);

impl Tiles for FileTiles<'_> {
    type Error = StoreError;

    fn tile(&self, id: TileId) -> Result<Vec<Hash>, StoreError> {
        let missing = || StoreError::Broken(format!("the log's {id} is missing or cut"));
        // Why also for a part of one: the entries below it may have left the file.
        let full = TileId::full(id.level, id.index);
        let kept: Option<Vec<u8>> = self
            .0
            .prepare_cached("SELECT hashes FROM tile WHERE place = ?1")
            .and_then(|mut statement| {
                statement.query_row([tile_place(id.level, id.index)], |row| row.get(0)).optional()
            })
            .map_err(broken)?;
        if let Some(bytes) = kept {
            let hashes = full.hashes(&bytes).map_err(|_| missing())?;
            return Ok(hashes.into_iter().take(id.width.into()).collect());
        }
        if id.is_full() {
            return Err(missing());
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

/// The row of a tile.
pub(super) fn tile_place(level: u8, index: u64) -> i64 {
    int((u64::from(level) << INDEX_BITS) | index)
}
