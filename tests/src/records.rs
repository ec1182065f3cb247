//! A broker's store, read from outside: its log, its chain of hashes, its open work.

use std::path::Path;

use jeton_domain::{
    audit::{CHAIN_START, Entry, Event},
    grant::Phase,
};
use rusqlite::{Connection, OpenFlags};

/// A store file, opened for reading; the broker may run or be dead.
pub struct Records(Connection);

impl Records {
    /// Opens the store of a data folder.
    pub fn open(data: &Path) -> Self {
        let db =
            Connection::open_with_flags(data.join("jeton.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)
                .unwrap();
        db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        Self(db)
    }

    /// Every event from the first on, after checking numbers, order of time and chain.
    pub fn events(&self) -> Vec<Event> {
        self.events_behind(&mut Head::default())
    }

    /// Those behind a head, which moves on.
    pub fn events_behind(&self, head: &mut Head) -> Vec<Event> {
        let sql = "SELECT seq, text, hash FROM entry WHERE seq > ?1 ORDER BY seq";
        let mut statement = self.0.prepare(sql).unwrap();
        let rows = statement.query_map([i64::try_from(head.seq).unwrap()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
        });
        let mut events = Vec::new();
        for row in rows.unwrap() {
            let (seq, text, hash) = row.unwrap();
            let entry: Entry = serde_json::from_str(&text).unwrap();
            assert_eq!(u64::try_from(seq).unwrap(), head.seq + 1, "the log has a hole");
            assert_eq!(entry.seq, head.seq + 1, "an entry says another number");
            head.hash = Entry::chain(&head.hash, &text);
            assert_eq!(hash, head.hash, "the chain breaks at entry {seq}");
            head.seq += 1;
            events.push(entry.event);
        }
        events
    }

    /// Grants whose first credential is being minted.
    pub fn open_mints(&self) -> u32 {
        let minting = Phase::ALL.iter().position(|phase| *phase == Phase::Minting).unwrap();
        let sql = "SELECT count(*) FROM grants WHERE phase = ?1";
        self.0.query_row(sql, [i64::try_from(minting).unwrap()], |row| row.get(0)).unwrap()
    }

    /// Renewals that are under way.
    pub fn open_renewals(&self) -> u32 {
        let sql = "SELECT count(*) FROM grants WHERE renewing IS NOT NULL";
        self.0.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Revocations that an upstream has yet to confirm.
    pub fn queued_revocations(&self) -> u32 {
        self.0.query_row("SELECT count(*) FROM revocation", [], |row| row.get(0)).unwrap()
    }

    /// What SQLite says of the file as a whole.
    pub fn integrity(&self) -> String {
        self.0.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
    }
}

/// How far a log has been read.
pub struct Head {
    seq: u64,
    hash: [u8; 32],
}

impl Default for Head {
    fn default() -> Self {
        Self { seq: 0, hash: CHAIN_START }
    }
}
