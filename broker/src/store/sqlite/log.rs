//! The log as it is asked for: entries, proofs, the newest checkpoint.

use std::borrow::Cow;

use jeton_domain::{
    audit::Event,
    merkle::{
        ConsistencyProof, Hash, InclusionProof, SignedCheckpoint, TILE_WIDTH, TileId, Tiles, Tree,
        TreeError,
    },
    secret::hex,
    session::Words,
    ttl::{Timestamp, Ttl},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    edge::{FileTiles, log_size},
    schema::broken,
    writer::{Txn, int},
};
use crate::{
    limits::SIGNALS_REMEMBERED,
    store::{CheckpointKind, Mark, StoreError, archive::Archive},
};

/// Entries of a full bundle.
const FULL: u32 = 256;

/// Texts of entries that follow each other; where they have left the file, from the archive.
pub(super) fn entries(
    db: &Connection,
    archive: Option<&Archive>,
    from: u64,
    most: u32,
) -> Result<Vec<String>, StoreError> {
    let (first, texts) = kept(db, from, most)?;
    // Why by what was found: entries may leave the file at any moment, and are in the archive before.
    if first.map_or(from >= log_size(db)?, |first| first == from) {
        return Ok(texts);
    }
    archive.ok_or_else(|| moved(from))?.entries(from, most)
}

/// Texts of entries in the file, and where the first of them stands.
fn kept(db: &Connection, from: u64, most: u32) -> Result<(Option<u64>, Vec<String>), StoreError> {
    let sql = "SELECT place, text FROM entry WHERE place >= ?1 ORDER BY place LIMIT ?2";
    let mut statement = db.prepare_cached(sql).map_err(broken)?;
    let mut rows = statement.query(params![int(from), most]).map_err(broken)?;
    let (mut first, mut texts) = (None, Vec::new());
    while let Some(row) = rows.next().map_err(broken)? {
        let place: i64 = row.get(0).map_err(broken)?;
        first.get_or_insert(place.unsigned_abs());
        texts.push(row.get(1).map_err(broken)?);
    }
    Ok((first, texts))
}

/// Texts of entries that lie apart; those that have left the file from the archive.
pub(super) fn entries_at(
    db: &Connection,
    archive: Option<&Archive>,
    places: &[u64],
) -> Result<Vec<String>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT text FROM entry WHERE place = ?1").map_err(broken)?;
    let mut texts = Vec::with_capacity(places.len());
    let mut opened: Option<(u64, Vec<String>)> = None;
    for place in places {
        let text = statement.query_row([int(*place)], |row| row.get(0)).optional();
        if let Some(text) = text.map_err(broken)? {
            texts.push(text);
            continue;
        }
        if *place >= first(db)? {
            continue;
        }
        let archive = archive.ok_or_else(|| moved(*place))?;
        let index = place / TILE_WIDTH;
        if opened.as_ref().is_none_or(|(known, _)| *known != index) {
            opened = Some((index, archive.bundle(index)?));
        }
        let at = usize::try_from(place % TILE_WIDTH).unwrap_or(usize::MAX);
        texts.extend(opened.as_ref().and_then(|(_, bundle)| bundle.get(at)).cloned());
    }
    Ok(texts)
}

/// The first entry of the file.
pub(super) fn first(db: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT COALESCE(MIN(place), 0) FROM entry";
    let first: i64 = db.query_row(sql, [], |row| row.get(0)).map_err(broken)?;
    u64::try_from(first).map_err(|_| StoreError::Broken("an entry has a negative place".into()))
}

/// Writes whole bundles to the archive, with the tiles over them and the newest checkpoint.
pub(super) fn archive(
    db: &Connection,
    archive: &Archive,
    from: u64,
    until: u64,
) -> Result<(), StoreError> {
    let tiles = FileTiles(db);
    for index in from / TILE_WIDTH..until / TILE_WIDTH {
        let (_, texts) = kept(db, index.saturating_mul(TILE_WIDTH), FULL)?;
        archive.write_bundle(index, &texts, &tiles.tile(TileId::full(0, index))?)?;
    }
    let mut above = until / TILE_WIDTH;
    for level in 1_u8.. {
        above /= TILE_WIDTH;
        if above == 0 {
            break;
        }
        let first = from.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
        for index in first..above {
            let id = TileId::full(level, index);
            archive.write_tile(id, &tiles.tile(id)?)?;
        }
    }
    checkpoint(db, CheckpointKind::Newest)?.map_or(Ok(()), |note| archive.write_checkpoint(&note))
}

/// Takes entries out of the file. Their hashes stay.
pub(super) fn drop_entries(
    txn: &mut Txn<'_>,
    below: u64,
    to: Words,
    now: Timestamp,
) -> Result<(), StoreError> {
    let first = first(txn.db)?;
    if below <= first {
        return Ok(());
    }
    txn.run("DELETE FROM entry WHERE place < ?1", [int(below)])?;
    txn.append(Event::EntriesMoved { first, until: below, to }, now).map(|_| ())
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
    kind: CheckpointKind,
    checkpoint: &SignedCheckpoint,
) -> Result<(), StoreError> {
    let (size, note) = (int(checkpoint.checkpoint().size), checkpoint.to_string());
    txn.run(
        "INSERT INTO checkpoint VALUES (?3, ?1, ?2)
         ON CONFLICT (one) DO UPDATE SET size = excluded.size, note = excluded.note
         WHERE excluded.size >= size",
        params![size, note, row(kind)],
    )
    .map(|_| ())
}

/// The newest checkpoint.
pub(super) fn checkpoint(
    db: &Connection,
    kind: CheckpointKind,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT note FROM checkpoint WHERE one = ?1";
    db.query_row(sql, [row(kind)], |row| row.get(0)).optional().map_err(broken)
}

fn moved(place: u64) -> StoreError {
    StoreError::Broken(format!(
        "entry {place} was moved out of the store, and no archive is configured"
    ))
}

/// A number that was kept.
pub(super) fn mark(db: &Connection, mark: Mark) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT value FROM mark WHERE name = ?1";
    let value = db.query_row(sql, [name(mark)], |row| row.get::<_, i64>(0)).optional();
    Ok(value.map_err(broken)?.map(i64::unsigned_abs))
}

/// Keeps a number.
pub(super) fn record_mark(txn: &mut Txn<'_>, mark: Mark, value: u64) -> Result<(), StoreError> {
    txn.run("INSERT OR REPLACE INTO mark VALUES (?1, ?2)", params![name(mark), int(value)])
        .map(|_| ())
}

/// What the names of received signals begin with, among the numbers that are kept, and what is behind
/// all of them.
const RECEIVED: [&str; 2] = ["received-", "received."];

/// When a signal was received first.
pub(super) fn first_received(
    txn: &mut Txn<'_>,
    signal: [u8; 32],
    memory: Ttl,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let [from, until] = RECEIVED;
    let name = format!("{from}{}", hex(&signal));
    let find = "SELECT value FROM mark WHERE name = ?1";
    let found = txn.db.query_row(find, [&name], |row| row.get::<_, i64>(0)).optional();
    if let Some(found) = txn.checked(found)? {
        return Ok(Some(Timestamp::from_millis(found)));
    }
    // Why a minute later: a signal may be issued by a clock that is ahead.
    let old = now.millis().saturating_sub(i64::from(memory.seconds()).saturating_add(60) * 1000);
    let forget = "DELETE FROM mark WHERE name >= ?1 AND name < ?2 AND value < ?3";
    txn.run(forget, params![from, until, old])?;
    let count = "SELECT count(*) FROM mark WHERE name >= ?1 AND name < ?2";
    let count = txn.db.query_row(count, [from, until], |row| row.get::<_, i64>(0));
    if txn.checked(count)? >= SIGNALS_REMEMBERED {
        return Ok(None);
    }
    txn.run("INSERT INTO mark VALUES (?1, ?2)", params![name, now.millis()])?;
    Ok(Some(now))
}

fn name(mark: Mark) -> Cow<'static, str> {
    match mark {
        Mark::Copied => "copied".into(),
        Mark::Acknowledged => "acknowledged".into(),
        Mark::Proofs => "proofs".into(),
        Mark::Told(receiver) => format!("told-{receiver:016x}").into(),
    }
}

fn row(kind: CheckpointKind) -> i64 {
    match kind {
        CheckpointKind::Newest => 1,
        CheckpointKind::Witnessed => 2,
    }
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
