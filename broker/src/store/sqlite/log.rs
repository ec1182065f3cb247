//! The log as it is asked for: entries, proofs, the newest checkpoint.

use jeton_domain::merkle::{
    ConsistencyProof, Hash, InclusionProof, SignedCheckpoint, Tree, TreeError,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    edge::{FileTiles, log_size},
    schema::broken,
    writer::{Txn, int},
};
use crate::store::StoreError;

/// Texts of entries.
pub(super) fn entries(db: &Connection, from: u64, most: u32) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT text FROM entry WHERE place >= ?1 ORDER BY place LIMIT ?2";
    let mut statement = db.prepare_cached(sql).map_err(broken)?;
    let rows = statement.query_map(params![int(from), most], |row| row.get(0)).map_err(broken)?;
    rows.collect::<rusqlite::Result<_>>().map_err(broken)
}

/// Texts of entries that lie apart.
pub(super) fn entries_at(db: &Connection, places: &[u64]) -> Result<Vec<String>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT text FROM entry WHERE place = ?1").map_err(broken)?;
    let mut texts = Vec::with_capacity(places.len());
    for place in places {
        let text = statement.query_row([int(*place)], |row| row.get(0)).optional();
        texts.extend(text.map_err(broken)?);
    }
    Ok(texts)
}

/// Root over the first entries.
pub(super) fn root(db: &Connection, size: u64) -> Result<Hash, StoreError> {
    within(db, size)?;
    Tree::new(&FileTiles(db), size).root().map_err(refused)
}

/// That an entry is in the log.
pub(super) fn inclusion(
    db: &Connection,
    index: u64,
    size: u64,
) -> Result<InclusionProof, StoreError> {
    within(db, size)?;
    Tree::new(&FileTiles(db), size).inclusion(index).map_err(refused)
}

/// That the log begins with what it was.
pub(super) fn consistency(
    db: &Connection,
    old: u64,
    new: u64,
) -> Result<ConsistencyProof, StoreError> {
    within(db, new)?;
    Tree::new(&FileTiles(db), new).consistency(old).map_err(refused)
}

/// Keeps the newest checkpoint.
pub(super) fn record_checkpoint(
    txn: &mut Txn<'_>,
    checkpoint: &SignedCheckpoint,
) -> Result<(), StoreError> {
    let (size, note) = (int(checkpoint.checkpoint().size), checkpoint.to_string());
    txn.run(
        "INSERT INTO checkpoint VALUES (1, ?1, ?2)
         ON CONFLICT (one) DO UPDATE SET size = excluded.size, note = excluded.note
         WHERE excluded.size >= size",
        params![size, note],
    )
    .map(|_| ())
}

/// The newest checkpoint.
pub(super) fn checkpoint(db: &Connection) -> Result<Option<String>, StoreError> {
    db.query_row("SELECT note FROM checkpoint", [], |row| row.get(0)).optional().map_err(broken)
}

fn within(db: &Connection, size: u64) -> Result<(), StoreError> {
    let found = log_size(db)?;
    if size > found { Err(StoreError::NoEntry { asked: size, size: found }) } else { Ok(()) }
}

fn refused(error: TreeError<StoreError>) -> StoreError {
    match error {
        TreeError::Beyond { asked, size } => StoreError::NoEntry { asked, size },
        TreeError::Source(error) => error,
        cut @ TreeError::Cut(_) => StoreError::Broken(cut.to_string()),
    }
}
