//! The tables, and how a store file is opened.
//!
//! Each decision is one entry and one state row, both appended by number; no table that a commit
//! touches has a second index.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::store::StoreError;

/// Version of the tables, kept in `PRAGMA user_version`.
const VERSION: i64 = 6;

/// The tables of version 6.
const TABLES: &str = "
CREATE TABLE entry (
    place INTEGER PRIMARY KEY, -- from 0
    text  TEXT NOT NULL
) STRICT;
CREATE TABLE tile (
    place  INTEGER PRIMARY KEY, -- level << 48 | index; full tiles only
    root   BLOB NOT NULL,
    hashes BLOB NOT NULL
) STRICT;
CREATE TABLE checkpoint (
    one  INTEGER PRIMARY KEY CHECK (one IN (1, 2)), -- 1: the newest, 2: the newest with witnesses
    size INTEGER NOT NULL,
    note TEXT NOT NULL
) STRICT;
CREATE TABLE session (
    row        INTEGER PRIMARY KEY,
    tag        BLOB NOT NULL,
    phase      INTEGER NOT NULL,
    state      TEXT NOT NULL,
    agent      TEXT NOT NULL,
    person     TEXT,
    opener     TEXT NOT NULL,
    task       TEXT NOT NULL,
    envelope   TEXT NOT NULL,
    binding    TEXT NOT NULL,
    handle     BLOB NOT NULL,
    opened     INTEGER NOT NULL,
    deadline   INTEGER NOT NULL,
    request_id TEXT,
    first_grant INTEGER NOT NULL,
    chain      TEXT NOT NULL DEFAULT '[]',
    issuers    TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE TABLE session_use (
    row      INTEGER PRIMARY KEY,
    phase    INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    used     INTEGER NOT NULL,
    most     INTEGER NOT NULL
) STRICT;
CREATE TABLE grants (
    row        INTEGER PRIMARY KEY,
    tag        BLOB NOT NULL,
    session    INTEGER NOT NULL,
    phase      INTEGER NOT NULL,
    state      TEXT NOT NULL,
    scope      TEXT NOT NULL,
    ttl        INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    request_id TEXT,
    decided_by TEXT NOT NULL,
    requested  INTEGER NOT NULL,
    renewals   INTEGER NOT NULL,
    sealed     BLOB,
    dies       INTEGER,
    renewing   INTEGER,
    entry      INTEGER,
    delivery   INTEGER NOT NULL DEFAULT 0 -- 1: to the gateway
) STRICT;
CREATE TABLE revocation (
    place    INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: a late answer finds nothing
    grant_row INTEGER NOT NULL,
    upstream TEXT NOT NULL,
    sealed   BLOB NOT NULL,
    version  INTEGER NOT NULL,
    dies     INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next     INTEGER NOT NULL
) STRICT;
CREATE TABLE approval (
    entry     INTEGER PRIMARY KEY, -- the log's entry that records it
    grant_row INTEGER NOT NULL,    -- the pending grant that it answers
    session   INTEGER NOT NULL,
    used      INTEGER NOT NULL,
    most      INTEGER NOT NULL,
    until     INTEGER NOT NULL,
    text      TEXT NOT NULL
) STRICT;
CREATE TABLE spend (
    grant_row INTEGER PRIMARY KEY, -- a grant that is counted against budgets
    at        INTEGER NOT NULL,
    until     INTEGER NOT NULL,    -- seconds: from then on it only counts while it lives
    shares    BLOB NOT NULL        -- for each: 16 bytes of its key, 4 of its seconds
) STRICT;
CREATE TABLE glass (
    entry INTEGER PRIMARY KEY, -- of an emergency that nobody has reviewed yet
    text  TEXT NOT NULL
) STRICT;
CREATE TABLE review (
    grant_row INTEGER NOT NULL, -- the pending grant that a reviewer is asked about
    reviewer  TEXT NOT NULL,
    answer    TEXT,             -- none while it is due
    PRIMARY KEY (grant_row, reviewer)
) STRICT, WITHOUT ROWID;
CREATE TABLE reviewed (
    session  INTEGER NOT NULL,
    reviewer TEXT NOT NULL,
    given    INTEGER NOT NULL, -- how many yes
    PRIMARY KEY (session, reviewer)
) STRICT, WITHOUT ROWID;
CREATE TABLE mark (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE stop (
    place INTEGER PRIMARY KEY,
    text  TEXT NOT NULL
) STRICT;
CREATE TABLE ended (
    entry     INTEGER PRIMARY KEY, -- the log's entry that ended it
    grant_row INTEGER NOT NULL,
    tag       BLOB NOT NULL,
    session   INTEGER NOT NULL,
    dies      INTEGER NOT NULL
) STRICT;
INSERT INTO mark VALUES ('lowest_live_grant', 1);
";

/// From version 2 to version 3.
const TO_3: &str = "
ALTER TABLE session ADD COLUMN chain TEXT NOT NULL DEFAULT '[]';
CREATE TABLE stop (place INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE TABLE ended (entry INTEGER PRIMARY KEY, grant_row INTEGER NOT NULL, tag BLOB NOT NULL,
    session INTEGER NOT NULL, dies INTEGER NOT NULL) STRICT;
";

/// From version 3 to version 4.
const TO_4: &str = "
ALTER TABLE session ADD COLUMN issuers TEXT NOT NULL DEFAULT '[]';
CREATE TABLE approval (entry INTEGER PRIMARY KEY, grant_row INTEGER NOT NULL,
    session INTEGER NOT NULL, used INTEGER NOT NULL, most INTEGER NOT NULL,
    until INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
";

/// From version 4 to version 5.
const TO_5: &str = "
CREATE TABLE spend (grant_row INTEGER PRIMARY KEY, at INTEGER NOT NULL, until INTEGER NOT NULL,
    shares BLOB NOT NULL) STRICT;
CREATE TABLE glass (entry INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE TABLE review (grant_row INTEGER NOT NULL, reviewer TEXT NOT NULL, answer TEXT,
    PRIMARY KEY (grant_row, reviewer)) STRICT, WITHOUT ROWID;
CREATE TABLE reviewed (session INTEGER NOT NULL, reviewer TEXT NOT NULL, given INTEGER NOT NULL,
    PRIMARY KEY (session, reviewer)) STRICT, WITHOUT ROWID;
";

/// From version 5 to version 6.
const TO_6: &str = "ALTER TABLE grants ADD COLUMN delivery INTEGER NOT NULL DEFAULT 0;";

/// Opens the file for the one writer and makes or checks its tables.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open(path).map_err(broken)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 4000;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA busy_timeout = 5000;
         PRAGMA trusted_schema = OFF;
         PRAGMA cache_size = -65536;",
    )
    .map_err(broken)?;
    db.set_prepared_statement_cache_capacity(64);
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(broken)?;
    match version {
        0 => {
            db.execute_batch(&format!(
                "BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"
            ))
            .map_err(broken)?;
            Ok(db)
        }
        // Why in one transaction with the number: a crash leaves the old tables or the new ones.
        2..VERSION => {
            let steps = [(2, TO_3), (3, TO_4), (4, TO_5), (5, TO_6)];
            let steps = steps.into_iter().filter(|(from, _)| *from >= version);
            let steps: String = steps.map(|(_, step)| step).collect();
            db.execute_batch(&format!(
                "BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT;"
            ))
            .map_err(broken)?;
            Ok(db)
        }
        VERSION => Ok(db),
        other => Err(StoreError::Broken(format!(
            "the store has version {other}, this program knows version {VERSION}; use the program that wrote it"
        ))),
    }
}

/// Opens the file for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(broken)?;
    db.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF;").map_err(broken)?;
    Ok(db)
}

/// An error of SQLite, in the store's words.
pub(super) fn broken(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => StoreError::Full,
        _ => StoreError::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_the_version_before_gets_the_tables_of_this_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jeton.db");
        let tables = |db: &Connection| -> String {
            let sql = "SELECT group_concat(name, ' ') FROM (SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name)";
            db.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        let db = open_writer(&path).unwrap();
        let whole = tables(&db);
        db.execute_batch(
            "DROP TABLE review; DROP TABLE reviewed; DROP TABLE spend; DROP TABLE glass;
             ALTER TABLE grants DROP COLUMN delivery; PRAGMA user_version = 4;",
        )
        .unwrap();
        assert_ne!(tables(&db), whole);
        drop(db);
        assert_eq!(tables(&open_writer(&path).unwrap()), whole);
        let again = open_writer(&path).unwrap();
        let columns = "SELECT grant_row, reviewer, answer FROM review; SELECT session, reviewer, given FROM reviewed; SELECT delivery FROM grants";
        again.execute_batch(columns).unwrap();
        let version: i64 = again.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, VERSION);
    }
}
