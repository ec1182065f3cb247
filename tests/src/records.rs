//! A broker's store, read from outside: its log and its open work.

use std::path::Path;

use jeton_domain::{
    audit::{Entry, Event},
    grant::Phase,
    merkle::{Anchor, Hash, LogVerifier},
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

    /// Every event from the first on, after checking place, form and order of time.
    pub fn events(&self) -> Vec<Event> {
        self.events_behind(&mut Head::default())
    }

    /// Those about one grant, each with its place.
    pub fn events_of(&self, grant: &str) -> Vec<(u64, Event)> {
        let about = |event: &Event| event.facts().grant.is_some_and(|id| id.to_string() == grant);
        (0..).zip(self.events()).filter(|(_, event)| about(event)).collect()
    }

    /// Those behind a head, which moves on.
    pub fn events_behind(&self, head: &mut Head) -> Vec<Event> {
        self.entries_behind(head).into_iter().map(|entry| entry.event).collect()
    }

    /// The same with their times.
    pub fn entries_behind(&self, head: &mut Head) -> Vec<Entry> {
        let sql = "SELECT place, text FROM entry WHERE place >= ?1 ORDER BY place";
        let mut statement = self.0.prepare(sql).unwrap();
        let rows = statement.query_map([i64::try_from(head.size()).unwrap()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        });
        let mut events = Vec::new();
        for row in rows.unwrap() {
            let (place, text) = row.unwrap();
            assert_eq!(u64::try_from(place).unwrap(), head.size(), "the log has a hole");
            events.push(head.0.feed(text.as_bytes(), None).unwrap().entry);
        }
        events
    }

    /// What the newest checkpoint was signed for, read without its key.
    pub fn checkpoint(&self) -> Option<Anchor> {
        let mut rows = self.0.prepare("SELECT note FROM checkpoint WHERE one = 1").unwrap();
        let note = rows.query_map([], |row| row.get::<_, String>(0)).unwrap().next()?.unwrap();
        let lines: Vec<&str> = note.lines().collect();
        Some(Anchor { size: lines[1].parse().unwrap(), root: Hash::parse(lines[2]).unwrap() })
    }

    /// Holds the whole log against everything that was ever signed.
    pub fn hold(&self, signed: Vec<Anchor>) {
        let mut head = Head(LogVerifier::new(signed));
        self.events_behind(&mut head);
        head.0.finish().unwrap();
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
pub struct Head(LogVerifier);

impl Head {
    /// Entries read so far.
    pub fn size(&self) -> u64 {
        self.0.size()
    }
}

impl Default for Head {
    fn default() -> Self {
        Self(LogVerifier::new(vec![]))
    }
}
