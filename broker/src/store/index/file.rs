//! Full segments, in a file of their own. Nothing in it is lost for good: it is made from the log.

use std::{fs, path::Path};

use jeton_domain::{merkle::Hash, secret::hex, ttl::Timestamp};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{
    places::{Set, pack, unpack},
    segment::{Segment, near as near_in},
    term::{Kind, Term, TermKey},
};
use crate::{crypto, store::StoreError};

/// Version of the tables.
const VERSION: i64 = 2;

const TABLES: &str = "
CREATE TABLE segment (
    number INTEGER PRIMARY KEY,
    root   BLOB NOT NULL, -- of the log behind its last entry
    first  INTEGER NOT NULL, -- time of its first entry
    times  BLOB NOT NULL
) STRICT;
CREATE TABLE posting (
    term    INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    places  BLOB NOT NULL,
    PRIMARY KEY (term, segment)
) STRICT, WITHOUT ROWID;
CREATE TABLE term_key (
    key BLOB NOT NULL
) STRICT;
CREATE TABLE name (
    kind INTEGER NOT NULL,
    text TEXT NOT NULL,
    term INTEGER NOT NULL,
    PRIMARY KEY (kind, text)
) STRICT, WITHOUT ROWID;
";

/// Opens the file, or makes it.
pub fn open(path: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open(path).map_err(broken)?;
    // Why not durable: after a crash of the host it may be made anew.
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA busy_timeout = 5000;
         PRAGMA trusted_schema = OFF; PRAGMA cache_size = -32768;",
    )
    .map_err(broken)?;
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(broken)?;
    match version {
        0 => {
            let key = hex(&crypto::random::<16>());
            db.execute_batch(&format!(
                "BEGIN IMMEDIATE; {TABLES} INSERT INTO term_key VALUES (x'{key}');
                 PRAGMA user_version = {VERSION}; COMMIT;"
            ))
            .map_err(broken)?;
        }
        VERSION => {}
        other => {
            return Err(StoreError::Broken(format!("the log's index has version {other}")));
        }
    }
    Ok(db)
}

/// Makes the file anew.
pub fn anew(path: &Path) -> Result<Connection, StoreError> {
    for ending in ["index", "index-wal", "index-shm"] {
        match fs::remove_file(path.with_extension(ending)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Broken(format!("`{}`: {error}", path.display())));
            }
            Ok(()) | Err(_) => {}
        }
    }
    open(path)
}

/// The key that its terms are hashed with.
pub fn key(db: &Connection) -> Result<TermKey, StoreError> {
    db.query_row("SELECT key FROM term_key", [], |row| row.get(0).map(TermKey)).map_err(broken)
}

/// Opens the file for reading.
pub fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(broken)?;
    db.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF;").map_err(broken)?;
    Ok(db)
}

/// The last full segment, and the root of the log behind it.
pub fn last_segment(db: &Connection) -> Result<Option<(u64, Hash)>, StoreError> {
    db.query_row("SELECT number, root FROM segment ORDER BY number DESC LIMIT 1", [], |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), Hash(row.get(1)?)))
    })
    .optional()
    .map_err(broken)
}

/// Writes a full segment.
pub fn write(db: &mut Connection, segment: &Segment, root: &Hash) -> Result<(), StoreError> {
    let mut write = || {
        let txn = db.transaction()?;
        let number = int(segment.number);
        let mut terms: Vec<_> = segment.postings.iter().collect();
        // Why sorted: rows that lie beside each other are written together.
        terms.sort_unstable_by_key(|(term, _)| **term);
        {
            let mut statement =
                txn.prepare("INSERT OR REPLACE INTO posting VALUES (?1, ?2, ?3, ?4)")?;
            for (term, places) in terms {
                let count = i64::try_from(places.len()).unwrap_or(i64::MAX);
                statement.execute(params![term.0, number, count, pack(places)])?;
            }
            let mut statement = txn.prepare("INSERT OR IGNORE INTO name VALUES (?1, ?2, ?3)")?;
            for (term, (kind, text)) in &segment.names {
                statement.execute(params![kind.number(), text, term.0])?;
            }
        }
        let times: Vec<u8> = segment.times.iter().flat_map(|time| time.to_le_bytes()).collect();
        let first = segment.times.first().copied().unwrap_or(0);
        txn.execute(
            "INSERT OR REPLACE INTO segment VALUES (?1, ?2, ?3, ?4)",
            params![number, root.0, first, times],
        )?;
        txn.commit()
    };
    write().map_err(broken)
}

/// The nearest segment at or before (or at or after) one in which a term is.
pub fn nearest(
    db: &Connection,
    term: Term,
    from: u64,
    towards_younger: bool,
) -> Result<Option<u64>, StoreError> {
    let sql = if towards_younger {
        "SELECT MIN(segment) FROM posting WHERE term = ?1 AND segment >= ?2"
    } else {
        "SELECT MAX(segment) FROM posting WHERE term = ?1 AND segment <= ?2"
    };
    db.prepare_cached(sql)
        .and_then(|mut statement| {
            statement.query_row(params![term.0, int(from)], |row| row.get::<_, Option<i64>>(0))
        })
        .map(|found| found.map(i64::unsigned_abs))
        .map_err(broken)
}

/// Puts the places of a term in a segment into a set.
pub fn put_into(
    db: &Connection,
    set: &mut Set,
    term: Term,
    segment: u64,
) -> Result<(), StoreError> {
    let sql = "SELECT places FROM posting WHERE term = ?1 AND segment = ?2";
    let mut put = || {
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query(params![term.0, int(segment)])?;
        if let Some(row) = rows.next()? {
            unpack(row.get_ref(0)?.as_blob().unwrap_or_default(), |place| set.put(place));
        }
        Ok(())
    };
    put().map_err(broken)
}

/// How often a term is in a segment.
pub fn count(db: &Connection, term: Term, segment: u64) -> Result<u64, StoreError> {
    let sql = "SELECT count FROM posting WHERE term = ?1 AND segment = ?2";
    db.prepare_cached(sql)
        .and_then(|mut statement| {
            statement
                .query_row(params![term.0, int(segment)], |row| row.get::<_, i64>(0))
                .optional()
        })
        .map(|found| found.map_or(0, i64::unsigned_abs))
        .map_err(broken)
}

/// Hands on the values of a kind until it is told to stop.
pub fn each_name(
    db: &Connection,
    kind: Kind,
    mut each: impl FnMut(String, Term) -> bool,
) -> Result<(), StoreError> {
    let mut read = || {
        let mut statement =
            db.prepare_cached("SELECT text, term FROM name WHERE kind = ?1 ORDER BY text")?;
        let mut rows = statement.query([kind.number()])?;
        while let Some(row) = rows.next()? {
            if !each(row.get(0)?, Term(row.get(1)?)) {
                break;
            }
        }
        Ok(())
    };
    read().map_err(broken)
}

/// The index at which to begin looking for a moment.
pub fn near(db: &Connection, at: Timestamp) -> Result<u64, StoreError> {
    let sql = "SELECT number, times FROM segment WHERE first < ?1 ORDER BY number DESC LIMIT 1";
    let found: Option<(i64, Vec<u8>)> = db
        .query_row(sql, [at.millis()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(broken)?;
    let Some((number, bytes)) = found else { return Ok(0) };
    let (times, _) = bytes.as_chunks::<8>();
    let times: Vec<i64> = times.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
    let start = number.unsigned_abs().saturating_mul(super::SEGMENT);
    Ok(near_in(start, &times, at).unwrap_or(start))
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn broken(error: rusqlite::Error) -> StoreError {
    StoreError::Broken(format!("the log's index: {error}"))
}
