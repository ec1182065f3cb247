//! The one writer: a thread that owns the write connection and commits in groups.
//!
//! Steps that wait together share one transaction and one fsync. Nothing is acknowledged, and
//! nothing that readers see in memory changes, before that commit returned.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, RwLock},
};

use jeton_domain::{
    audit::{ENTRY_VERSION, Entry, Event},
    id::Row,
    merkle::{Frontier, TileBuilder, leaf_hash},
    ttl::Timestamp,
};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::watch;

use super::{
    budgets::Spending,
    edge::{read_edge, tile_place},
    live::{Effect, Live},
    open_sessions::Opening,
    queue::JobQueue,
    reserve::Reserve,
    schema::broken,
};
use crate::store::StoreError;

/// A step that waits for the writer; it returns how to acknowledge it.
pub(super) type Job = Box<dyn FnOnce(&mut Txn<'_>) -> Ack + Send>;
/// Told `None` when the commit is on disk, otherwise why it is not.
pub(super) type Ack = Box<dyn FnOnce(Option<StoreError>) + Send>;
/// A session's request id, hashed.
pub(super) type RecentKey = [u8; 32];

/// The end of the log.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub size: u64,
    pub at: Timestamp,
}

/// What steps work on within one commit.
pub(super) struct Txn<'a> {
    pub db: &'a Connection,
    pub head: Head,
    pub effects: Vec<Effect>,
    pub spending: Spending,
    pub opening: Opening,
    appended: Vec<Entry>,
    pub live: &'a Arc<RwLock<Live>>,
    edge: &'a mut TileBuilder,
    recent: &'a mut HashMap<RecentKey, Row>,
    added: Vec<RecentKey>,
    failed: Option<StoreError>,
    full: bool,
    mark: u64,
}

impl Txn<'_> {
    /// Appends an entry and returns its index. Its time is never earlier than the entry before.
    pub fn append(&mut self, event: Event, now: Timestamp) -> Result<u64, StoreError> {
        let at = now.max(self.head.at);
        let index = self.head.size;
        let entry = Entry { v: ENTRY_VERSION, index, at, event };
        let text = entry.text().map_err(|error| StoreError::Broken(error.to_string()))?;
        self.appended.push(entry);
        self.run("INSERT INTO entry VALUES (?1, ?2)", params![int(index), text])?;
        for full in self.edge.push(leaf_hash(text.as_bytes())) {
            let bytes: Vec<u8> = full.hashes.iter().flat_map(|hash| hash.0).collect();
            let place = tile_place(full.id.level, full.id.index);
            self.run("INSERT INTO tile VALUES (?1, ?2, ?3)", params![place, full.root.0, bytes])?;
        }
        self.head = Head { size: index.saturating_add(1), at };
        Ok(index)
    }

    /// Index that the next entry will have.
    pub fn next_entry(&self) -> u64 {
        self.head.size
    }

    /// Runs a statement; an error fails the whole commit, since half a step must never stay.
    pub fn run(&mut self, sql: &str, params: impl rusqlite::Params) -> Result<usize, StoreError> {
        // Why: after an error SQLite may have ended the transaction; what follows would commit alone.
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result =
            self.db.prepare_cached(sql).and_then(|mut statement| statement.execute(params));
        self.checked(result)
    }

    /// Makes a step that stopped halfway fail the whole commit. Why only such: one that has changed
    /// nothing yet may fail alone.
    pub fn whole<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error @ StoreError::Broken(_)) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    /// Passes a result of SQLite on, remembering an error for the whole commit.
    pub fn checked<T>(&mut self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| {
            let error = broken(error);
            self.failed = Some(error.clone());
            error
        })
    }

    /// Keeps the mark below every live row: ids are reserved before they are recorded, so a low one
    /// may come late.
    pub fn keep_mark_below(&mut self, row: Row) -> Result<(), StoreError> {
        if row.get() >= self.mark {
            return Ok(());
        }
        self.mark = row.get();
        self.run(SET_MARK, [int(self.mark)]).map(|_| ())
    }

    /// Refuses new grants while the disk is full.
    pub fn room(&self) -> Result<(), StoreError> {
        if self.full { Err(StoreError::Full) } else { Ok(()) }
    }

    /// The row that was recorded under a request id.
    pub fn seen(&self, key: &RecentKey) -> Option<Row> {
        self.recent.get(key).copied()
    }

    /// Remembers a row under a request id.
    pub fn remember(&mut self, key: RecentKey, row: Row) {
        self.recent.insert(key, row);
        self.added.push(key);
    }
}

/// The thread's own things.
pub(super) struct Writer {
    pub _lock: std::fs::File,
    pub db: Connection,
    pub head: Head,
    pub edge: TileBuilder,
    pub grown: watch::Sender<Frontier>,
    pub feed: tokio::sync::mpsc::Sender<Vec<Entry>>,
    pub endings: watch::Sender<()>,
    pub live: Arc<RwLock<Live>>,
    pub recent: HashMap<RecentKey, Row>,
    pub reserve: Reserve,
    pub mark: u64,
}

/// Grants that end before the mark is moved up. Why: a start then reads few that are over.
const MARK_STEP: u64 = 20_000;
const SET_MARK: &str = "UPDATE mark SET value = ?1 WHERE name = 'lowest_live_grant'";

impl Writer {
    /// Runs until the queue is closed and empty.
    pub fn run(mut self, jobs: &JobQueue) {
        let _end = jobs.end_on_drop();
        while let Some(batch) = jobs.next_batch() {
            self.commit(batch);
        }
        // Why: leaves one tidy file behind for whoever copies it.
        let _ = self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
    }

    fn commit(&mut self, batch: Vec<Job>) {
        self.reserve.restore();
        if let Err(error) =
            self.db.prepare_cached("BEGIN IMMEDIATE").and_then(|mut s| s.execute([]))
        {
            let error = broken(error);
            for job in batch {
                // Why run it at all: only the job knows whom to tell.
                let mut txn = self.txn();
                txn.failed = Some(error.clone());
                let ack = job(&mut txn);
                self.take_back_edge();
                self.forget(&error);
                ack(Some(error.clone()));
            }
            return;
        }
        let mut txn = self.txn();
        let acks: Vec<Ack> = batch.into_iter().map(|job| job(&mut txn)).collect();
        let (head, effects, added, failed, mut mark, appended) =
            (txn.head, txn.effects, txn.added, txn.failed, txn.mark, txn.appended);
        if failed.is_none() {
            self.raise(&mut mark, &effects);
        }
        let outcome = match failed {
            Some(error) => Err(error),
            None => self.commit_transaction(),
        };
        match outcome {
            Ok(()) => {
                let grown = head.size > self.head.size;
                self.head = head;
                self.mark = mark;
                let ended = effects.iter().any(|e| matches!(e, Effect::Ended(_, Some(_))));
                if let Ok(mut live) = self.live.write() {
                    live.apply(effects, &mut self.recent);
                }
                if ended {
                    self.endings.send_replace(());
                }
                // Why before the answers: whoever got one finds its entry in the log.
                if grown {
                    self.grown.send_replace(self.edge.frontier().clone());
                }
                acks.into_iter().for_each(|ack| ack(None));
                if grown {
                    // Why no error: whoever misses some reads them from the file.
                    let _ = self.feed.try_send(appended);
                }
            }
            Err(error) => {
                let _ = self.db.execute_batch("ROLLBACK");
                self.take_back_edge();
                for key in added {
                    self.recent.remove(&key);
                }
                self.forget(&error);
                acks.into_iter().for_each(|ack| ack(Some(error.clone())));
            }
        }
    }

    fn txn(&mut self) -> Txn<'_> {
        Txn {
            db: &self.db,
            head: self.head,
            effects: Vec::new(),
            spending: Spending::new(),
            opening: Opening::default(),
            appended: Vec::new(),
            live: &self.live,
            edge: &mut self.edge,
            recent: &mut self.recent,
            added: Vec::new(),
            failed: None,
            full: self.reserve.is_spent(),
            mark: self.mark,
        }
    }

    /// Forgets what a commit that failed had appended.
    fn take_back_edge(&mut self) {
        if self.edge.size() == self.head.size {
            return;
        }
        match read_edge(&self.db) {
            Ok(edge) if edge.size() == self.head.size => self.edge = edge,
            Ok(_) | Err(_) => {
                tracing::error!(
                    "the log's edge can't be read again; the process ends so that the next start reads what is on disk"
                );
                std::process::abort()
            }
        }
    }

    /// Moves the mark up to the lowest live row, now and then.
    fn raise(&self, mark: &mut u64, effects: &[Effect]) {
        // Why with this commit's own: an id is reserved before it is recorded, so a low row may be new.
        let recorded = effects.iter().filter_map(|effect| match effect {
            Effect::Live { id, .. } => Some(id.row()),
            Effect::Session(..)
            | Effect::Ended(..)
            | Effect::Stops(_)
            | Effect::Dead(_)
            | Effect::Approved(..)
            | Effect::ApprovalUsed(..)
            | Effect::ApprovalGone(..)
            | Effect::Spent(..)
            | Effect::Review(..)
            | Effect::Reviewed(..) => None,
        });
        let live = self.live.read().ok().and_then(|live| live.lowest());
        let lowest = live.map(|lowest| recorded.fold(lowest, Row::min).get());
        if let Some(lowest) = lowest.filter(|row| *row > mark.saturating_add(MARK_STEP))
            && *mark == self.mark
            // Why no error: the mark only saves time, and the next commit tries again.
            && self.db.execute(SET_MARK, [int(lowest)]).is_ok()
        {
            *mark = lowest;
        }
    }

    fn commit_transaction(&mut self) -> Result<(), StoreError> {
        let result =
            self.db.prepare_cached("COMMIT").and_then(|mut statement| statement.execute([]));
        match result {
            Ok(_) => Ok(()),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                Err(StoreError::Full)
            }
            Err(error) => {
                // Why: after a failed fsync nobody knows what is on disk, and asking again lies.
                // The next start reads what is really there.
                tracing::error!(%error, "the store could not commit; the process ends so that the next start reads what is on disk");
                std::process::abort()
            }
        }
    }

    /// A full disk spends the reserve, so that revoking goes on.
    fn forget(&mut self, error: &StoreError) {
        if *error == StoreError::Full {
            self.reserve.spend();
        }
    }
}

/// Reads the end of the log.
pub(super) fn read_head(db: &Connection) -> Result<Head, StoreError> {
    let last = db
        .query_row("SELECT text FROM entry ORDER BY place DESC LIMIT 1", [], |row| {
            row.get::<_, String>(0)
        })
        .optional()
        .map_err(broken)?;
    let Some(text) = last else {
        return Ok(Head { size: 0, at: Timestamp::from_millis(0) });
    };
    let entry = Entry::parse(text.as_bytes())
        .map_err(|error| StoreError::Broken(format!("the last entry: {error}")))?;
    Ok(Head { size: entry.index.saturating_add(1), at: entry.at })
}

/// The path of the reserve beside a store file.
pub(super) fn reserve_path(store: &std::path::Path) -> PathBuf {
    store.with_extension("reserve")
}

/// A number as SQLite keeps it.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
