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

use self::segment::Segment;
use super::{Store, StoreError};

pub use self::{
    count::{Bucket, Counted},
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
        let tail = RwLock::new(Segment::new(next));
        Ok(Self { file: Mutex::new(db), readers: Mutex::default(), path, tail })
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
        let full = {
            let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
            tail.take(entry);
            tail.is_full().then(|| tail.clone())
        };
        if let Some(segment) = full {
            let root = log.root(segment.end()).await?;
            // Why the file first: between the two a reader finds each place twice, never not.
            let mut db = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file::write(&mut db, &segment, &root)?;
            *self.tail.write().unwrap_or_else(PoisonError::into_inner) =
                Segment::new(segment.number.saturating_add(1));
        }
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
