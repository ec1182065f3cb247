//! Reads the log of a store file, also one that a broker is writing, and checks it entry by entry.

use std::path::Path;

use jeton_domain::{
    audit::Entry,
    merkle::{Hash, LogVerifier, TILE_WIDTH, TileBuilder, TileId, Tiles},
};

use super::{
    edge::{FileTiles, log_size},
    schema::{broken, open_reader},
};
use crate::store::StoreError;

/// What a whole log amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSummary {
    /// Entries in it.
    pub entries: u64,
    /// Root of the tree over them: it stands for all of them.
    pub root: Hash,
}

/// Reads all entries in order and hands each on, once its place, its form and its hash in the tree
/// are checked.
///
/// Somebody who rewrote the tree too is found only with a signed checkpoint, which is the business
/// of the offline verifier.
///
/// # Errors
/// At the first entry that is missing, out of place, edited or unreadable.
pub fn read_log(path: &Path, mut each: impl FnMut(&Entry)) -> Result<LogSummary, StoreError> {
    let db = open_reader(path)?;
    // Why one snapshot: a broker may append while this reads.
    let db = db.unchecked_transaction().map_err(broken)?;
    let size = log_size(&db)?;
    let tiles = FileTiles(&db);
    let mut kept: Vec<Hash> = Vec::new();
    let mut missing = None;
    // What was moved out is here by its hashes only.
    let first = super::log::first(&db)?;
    let edge =
        TileBuilder::read(&tiles, first).map_err(|error| StoreError::Broken(error.to_string()))?;
    let mut verifier = LogVerifier::resume(vec![], edge);
    let mut statement =
        db.prepare("SELECT place, text FROM entry ORDER BY place").map_err(broken)?;
    let mut rows = statement.query([]).map_err(broken)?;
    while let Some(row) = rows.next().map_err(broken)? {
        let place = verifier.size();
        let text = row.get_ref(1).map_err(broken)?.as_str().unwrap_or_default();
        if place.is_multiple_of(TILE_WIDTH) {
            let full = TileId::holding(0, place, size).filter(|id| id.is_full());
            // Why not at once: what is wrong with the entries names the place.
            kept = match full.map(|id| tiles.tile(id)).transpose() {
                Ok(hashes) => hashes.unwrap_or_default(),
                Err(error) => {
                    missing.get_or_insert(error);
                    Vec::new()
                }
            };
        }
        let hash = usize::try_from(place % TILE_WIDTH).ok().and_then(|at| kept.get(at)).copied();
        let checked = verifier
            .feed(text.as_bytes(), hash)
            .map_err(|fault| StoreError::Broken(format!("{fault}; somebody changed the log")))?;
        each(&checked.entry);
    }
    let tree = verifier.finish().map_err(|fault| StoreError::Broken(fault.to_string()))?;
    if let Some(error) = missing {
        return Err(error);
    }
    Ok(LogSummary { entries: tree.size(), root: tree.frontier().root() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, sqlite::SqliteStore};
    use jeton_domain::{audit::Event, ttl::Timestamp};
    use rusqlite::Connection;

    #[tokio::test]
    async fn an_edit_a_deletion_and_a_move_are_found() {
        for (harm, found) in [
            (
                "UPDATE entry SET text = replace(text, 'k002', 'k902') WHERE place = 2",
                "entry 2: it is not the entry that was written",
            ),
            (
                "UPDATE entry SET text = replace(text, '\"v\"', ' \"v\"') WHERE place = 270",
                "entry 270: it is not written as an entry is",
            ),
            (
                "DELETE FROM entry WHERE place = 260",
                "entry 260: the entry that stands here calls itself 261",
            ),
            ("DELETE FROM entry WHERE place = 2", "entry 2: it is not the entry that was written"),
            (
                "UPDATE entry SET place = 900 WHERE place = 270",
                "entry 270: the entry that stands here calls itself 271",
            ),
            ("DELETE FROM tile WHERE place = 0", "tile/0/000 is missing or cut"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("jeton.db");
            let store = SqliteStore::open(&path).unwrap();
            for number in 0..300 {
                let event = Event::KeyRotated { kid: format!("k{number:03}") };
                store.append(event, Timestamp::from_millis(5)).await.unwrap();
            }
            assert_eq!(read_log(&path, |_| {}).unwrap().entries, 300);
            store.close();
            Connection::open(&path).unwrap().execute(harm, []).unwrap();
            let error = read_log(&path, |_| {}).unwrap_err().to_string();
            assert!(error.contains(found), "{harm}: {error}");
        }
    }
}
