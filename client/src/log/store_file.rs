//! The log in a store's file, also one that a broker is writing. Old entries that were moved out of
//! it are read from the folder that they were moved to.

use std::path::Path;

use jeton_domain::merkle::{BundleId, Hash, TILE_WIDTH, TileId, leaf_hash};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{Folder, LogError, LogSource};

/// Bits of a tile's row that hold its index.
const INDEX_BITS: u32 = 48;

/// A store's file.
pub struct StoreFile {
    db: Connection,
    path: String,
    moved: Option<Folder>,
    size: u64,
    first: u64,
}

impl StoreFile {
    /// Opens it for reading. What is written to it from now on is not seen.
    ///
    /// # Errors
    /// When it is no store of a broker.
    pub fn open(path: &Path, moved: Option<Folder>) -> Result<Self, LogError> {
        let name = path.display().to_string();
        let bad =
            |error: rusqlite::Error| LogError::Unreadable { path: name.clone(), why: told(&error) };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(bad)?;
        // Why BEGIN: one snapshot for all that follows.
        db.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF; BEGIN;")
            .map_err(bad)?;
        let ends = "SELECT COALESCE(MIN(place), 0), COALESCE(MAX(place) + 1, 0) FROM entry";
        let (first, size): (i64, i64) =
            db.query_row(ends, [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(bad)?;
        let whole = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Self { db, path: name, moved, size: whole(size), first: whole(first) })
    }

    fn bad(&self, error: &rusqlite::Error) -> LogError {
        LogError::Unreadable { path: self.path.clone(), why: told(error) }
    }

    fn texts(&self, id: BundleId) -> rusqlite::Result<Vec<Vec<u8>>> {
        // Why by place and not the next ones: a gap is found where it is.
        // Why cut: a file of somebody else's may hold anything, and a cut text is found by its hash.
        let sql = "SELECT substr(CAST(text AS BLOB), 1, 65536) FROM entry
                   WHERE place >= ?1 AND place < ?2 ORDER BY place";
        let start = id.index.saturating_mul(TILE_WIDTH);
        let bounds = params![int(start), int(start.saturating_add(id.width.into()))];
        let mut statement = self.db.prepare_cached(sql)?;
        statement.query_map(bounds, |row| row.get(0))?.collect()
    }

    fn full_tile(&self, id: TileId) -> rusqlite::Result<Option<Vec<u8>>> {
        let place = int((u64::from(id.level) << INDEX_BITS) | id.index);
        let mut statement = self.db.prepare_cached("SELECT hashes FROM tile WHERE place = ?1")?;
        statement.query_row([place], |row| row.get(0)).optional()
    }

    fn roots(&self, id: TileId, below: u8) -> rusqlite::Result<Vec<Hash>> {
        let first = (u64::from(below) << INDEX_BITS) | id.index.saturating_mul(TILE_WIDTH);
        let sql = "SELECT root FROM tile WHERE place >= ?1 AND place < ?2 ORDER BY place";
        let bounds = params![int(first), int(first.saturating_add(id.width.into()))];
        let mut statement = self.db.prepare_cached(sql)?;
        statement.query_map(bounds, |row| row.get(0).map(Hash))?.collect()
    }
}

impl LogSource for StoreFile {
    fn size(&self) -> Result<Option<u64>, LogError> {
        Ok(Some(self.size))
    }

    fn first(&self) -> Result<u64, LogError> {
        Ok(if self.moved.is_some() { 0 } else { self.first })
    }

    fn checkpoint(&self) -> Result<Option<String>, LogError> {
        self.db
            .query_row("SELECT note FROM checkpoint WHERE one = 1", [], |row| row.get(0))
            .optional()
            .map_err(|error| self.bad(&error))
    }

    fn bundle(&self, id: BundleId) -> Result<Vec<Vec<u8>>, LogError> {
        match &self.moved {
            Some(moved) if id.index.saturating_mul(TILE_WIDTH) < self.first => moved.bundle(id),
            Some(_) | None => self.texts(id).map_err(|error| self.bad(&error)),
        }
    }

    fn tile(&self, id: TileId) -> Result<Option<Vec<Hash>>, LogError> {
        let missing = || LogError::Missing(id.to_string());
        let full = TileId::full(id.level, id.index);
        if let Some(bytes) = self.full_tile(full).map_err(|error| self.bad(&error))? {
            let bad = |error| LogError::Tile { name: full.to_string(), error };
            let hashes = full.hashes(&bytes).map_err(bad)?;
            return Ok(Some(hashes.into_iter().take(id.width.into()).collect()));
        }
        if id.is_full() {
            return Err(missing());
        }
        // A store keeps full tiles only; the others follow from what lies below them.
        let hashes = match id.level.checked_sub(1) {
            Some(below) => self.roots(id, below).map_err(|error| self.bad(&error))?,
            None => {
                let bundle = BundleId { index: id.index, width: id.width };
                self.bundle(bundle)?.iter().map(|text| leaf_hash(text)).collect()
            }
        };
        if hashes.len() == usize::from(id.width) { Ok(Some(hashes)) } else { Err(missing()) }
    }
}

fn told(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::CannotOpen) => {
            "there is no such file, or it can't be read".into()
        }
        Some(rusqlite::ErrorCode::NotADatabase) => "it is no store of a broker".into(),
        Some(_) | None => error.to_string(),
    }
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
