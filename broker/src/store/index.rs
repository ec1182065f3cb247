//! Finds entries of the log by what they say, in a log of any length: a projection beside the store,
//! made from the entries alone and made anew whenever it does not fit them.
//!
//! The log is cut into segments of 65,536 entries. For each term (this agent, that policy) of each
//! segment the places are kept that have it; the segment at the log's end is kept in memory. What
//! is found here is a candidate only: whoever reads it compares the entry itself. So a wrong
//! projection can hide an entry from a list, but never show one, and verifying does not use it.

mod count;
mod file;
mod places;
mod search;
mod segment;
mod term;

use std::{
    path::Path,
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use jeton_domain::{audit::Entry, ttl::Timestamp};
use rusqlite::Connection;

use self::{segment::Segment, term::TermKey};
use super::{Store, StoreError};

pub use self::{
    count::{Bucket, Counted, Uncounted},
    search::{Candidates, Span},
    term::{Kind, Query},
};

/// Entries of a segment.
pub const SEGMENT: u64 = 65_536;
/// Entries that are taken in one go.
const BATCH: u32 = 1000;

/// The projection.
pub struct LogIndex {
    /// Segments that are full.
    file: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    path: std::path::PathBuf,
    key: TermKey,
    /// The segment at the end.
    tail: RwLock<Segment>,
}

impl LogIndex {
    /// Opens the projection of a store, or makes an empty one if there is none that fits its log.
    ///
    /// # Errors
    /// When the file can't be made, or the store can't be read.
    pub async fn open(store: &Path, log: &dyn Store) -> Result<Self, StoreError> {
        let path = store.with_extension("index");
        let mut db = file::open(&path).or_else(|_| file::anew(&path))?;
        if let Some((number, root)) = file::last_segment(&db)? {
            let size = number.saturating_add(1).saturating_mul(SEGMENT);
            let grown = log.growth().borrow().size();
            // Why the root: a store that was put back has other entries at the same places.
            if grown < size || log.root(size).await? != root {
                drop(db);
                db = file::anew(&path)?;
            }
        }
        let next = file::last_segment(&db)?.map_or(0, |(number, _)| number.saturating_add(1));
        let key = file::key(&db)?;
        let tail = RwLock::new(Segment::new(next, key));
        Ok(Self { file: Mutex::new(db), readers: Mutex::default(), path, key, tail })
    }

    /// Takes in what was just written, if nothing before it is missing.
    ///
    /// # Errors
    /// When the projection can't be written.
    pub async fn take(&self, log: &dyn Store, entries: &[Entry]) -> Result<(), StoreError> {
        for entry in entries {
            if entry.index > self.size() {
                while self.size() <= entry.index && self.keep_up(log).await? {}
            }
            if entry.index == self.size() {
                self.take_one(log, entry).await?;
            }
        }
        Ok(())
    }

    /// Takes in what the log has grown by. Tells whether there may be more.
    ///
    /// # Errors
    /// When the store or the projection can't be read or written.
    pub async fn keep_up(&self, log: &dyn Store) -> Result<bool, StoreError> {
        let next = self.size();
        let texts = log.entries(next, BATCH).await?;
        for text in &texts {
            let entry: Entry = serde_json::from_str(text)
                .map_err(|error| StoreError::Broken(format!("an entry: {error}")))?;
            self.take_one(log, &entry).await?;
        }
        Ok(!texts.is_empty() && self.size() < log.growth().borrow().size())
    }

    async fn take_one(&self, log: &dyn Store, entry: &Entry) -> Result<(), StoreError> {
        // Why before: where the last one could not be written, this is the next try.
        self.put_away(log).await?;
        if entry.index != self.size() {
            return Err(StoreError::Broken(format!(
                "the log's index wants entry {}, not {}",
                self.size(),
                entry.index
            )));
        }
        self.tail.write().unwrap_or_else(PoisonError::into_inner).take(entry);
        self.put_away(log).await
    }

    /// Writes the segment at the end to the file, if it is full.
    async fn put_away(&self, log: &dyn Store) -> Result<(), StoreError> {
        if !self.tail().is_full() {
            return Ok(());
        }
        let segment = self.tail().clone();
        let root = log.root(segment.end()).await?;
        // Why the file first: between the two a reader finds each place twice, never not.
        let mut db = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file::write(&mut db, &segment, &root)?;
        *self.tail.write().unwrap_or_else(PoisonError::into_inner) = segment.next();
        Ok(())
    }

    /// Entries that it has taken in.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tail().end()
    }

    /// The entries between which a moment lies: the first of at most a few hundred that may be at or
    /// after it.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn near(&self, at: Timestamp) -> Result<u64, StoreError> {
        if let Some(place) = self.tail().near(at) {
            return Ok(place);
        }
        self.with(|db| file::near(db, at))
    }

    fn tail(&self) -> RwLockReadGuard<'_, Segment> {
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a query on a reader's connection.
    fn with<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = kept.map_or_else(|| file::open_reader(&self.path), Ok)?;
        let result = query(&db);
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(db);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::sqlite::SqliteStore;
    use jeton_domain::audit::{EntryFilter, Event};

    /// A log that is a segment and a bit long; some entries are of another kind.
    async fn log(path: &Path) -> Arc<SqliteStore> {
        let store = Arc::new(SqliteStore::open(path).unwrap());
        for first in (0..SEGMENT + 10).step_by(256) {
            let append = |index: u64| {
                let event = match index % 7 {
                    0 => Event::KeyRotated { kid: format!("k{index}") },
                    _ => Event::SignInFailed {
                        reason: jeton_domain::session::Words::new("none"),
                        count: 1,
                        subject: None,
                    },
                };
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.append(event, Timestamp::from_millis(1)).await })
            };
            // Why in order of time only within the commit: places are the writer's.
            let steps: Vec<_> = (first..(first + 256).min(SEGMENT + 10)).map(append).collect();
            for step in steps {
                step.await.unwrap().unwrap();
            }
        }
        store
    }

    #[tokio::test]
    async fn a_segment_that_could_not_be_written_is_tried_again_and_nothing_moves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jeton.db");
        let store = log(&path).await;
        let index = LogIndex::open(&path, &*store).await.unwrap();
        let change = |sql: &str| {
            let db = Connection::open(path.with_extension("index")).unwrap();
            db.execute_batch(sql).unwrap();
        };
        change("ALTER TABLE posting RENAME TO away");
        let mut failed = 0;
        for _ in 0..SEGMENT / 1000 + 5 {
            failed += u32::from(index.keep_up(&*store).await.is_err());
        }
        assert!(failed > 1, "it was tried again: {failed}");
        assert_eq!(index.size(), SEGMENT);
        change("ALTER TABLE away RENAME TO posting");
        while index.keep_up(&*store).await.unwrap() {}
        assert_eq!(index.size(), SEGMENT + 10);

        let filter = EntryFilter { event: Some("key_rotated".into()), ..EntryFilter::default() };
        let span = Span { low: 0, high: SEGMENT + 10, oldest_first: true };
        let found = index.candidates(&Query::of(&filter), span, 20_000).unwrap();
        let mut wanted = Vec::new();
        for from in (0..SEGMENT + 10).step_by(1000) {
            for (place, text) in (from..).zip(store.entries(from, 1000).await.unwrap()) {
                wanted.extend(text.contains("key_rotated").then_some(place));
            }
        }
        assert_eq!(found.places, wanted);
        assert_eq!(wanted.len(), 9364);
    }
}
