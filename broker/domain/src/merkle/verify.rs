//! Checks a whole log, entry by entry, against checkpoints: needs no broker and little memory.
//!
//! What somebody with the store but without the key could do (edit, insert, delete, reorder,
//! truncate, roll back) shows as a root that is not the signed one; where hashes of the single
//! entries are at hand, the entry itself is named.

use super::{
    frontier::Frontier,
    hash::{Hash, leaf_hash},
};
use crate::{
    audit::{Entry, EntryError},
    ttl::Timestamp,
};

/// A size and root that somebody vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anchor {
    /// Entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An entry stands where another should.
    #[error(
        "entry {place}: the entry that stands here calls itself {found}: entries were inserted, deleted or reordered"
    )]
    Misplaced {
        /// Where it stands.
        place: u64,
        /// Where it says that it stands.
        found: u64,
    },
    /// A text that is no entry.
    #[error("entry {place}: {error}")]
    Unreadable {
        /// Where it stands.
        place: u64,
        /// Why.
        error: EntryError,
    },
    /// A time before that of the entry before.
    #[error("entry {place}: its time lies before that of the entry before it")]
    Backwards {
        /// Where it stands.
        place: u64,
    },
    /// The entry is not the one whose hash was kept.
    #[error(
        "entry {place}: it is not the entry that was written: its hash differs from the tile's"
    )]
    Changed {
        /// Where it stands.
        place: u64,
    },
    /// The entries do not have the root that was signed.
    #[error(
        "the first {size} entries are not those that the checkpoint of size {size} was signed for: some were changed, or the log was forked or rolled back"
    )]
    Root {
        /// Size of the checkpoint.
        size: u64,
    },
    /// Fewer entries than were signed.
    #[error(
        "the log ends after {found} entries, but a checkpoint was signed for {signed}: it was truncated or rolled back"
    )]
    Truncated {
        /// Entries found.
        found: u64,
        /// Entries signed for.
        signed: u64,
    },
}

/// Checks a log as its entries come in.
pub struct LogVerifier {
    anchors: Vec<Anchor>,
    held: usize,
    frontier: Frontier,
    last: Timestamp,
}

impl LogVerifier {
    /// Will hold a log against all that is known of it. Two anchors of one size must both hold.
    #[must_use]
    pub fn new(mut anchors: Vec<Anchor>) -> Self {
        anchors.sort_unstable();
        Self { anchors, held: 0, frontier: Frontier::new(), last: Timestamp::from_millis(i64::MIN) }
    }

    /// Entries checked so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Takes the next entry, with the hash that was kept of it apart from it, if one was.
    ///
    /// # Errors
    /// With what is wrong at this entry.
    pub fn feed(&mut self, text: &[u8], kept: Option<Hash>) -> Result<Entry, Fault> {
        self.hold()?;
        let place = self.size();
        let hash = leaf_hash(text);
        if kept.is_some_and(|kept| kept != hash) {
            return Err(Fault::Changed { place });
        }
        let entry = Entry::parse(text).map_err(|error| Fault::Unreadable { place, error })?;
        if entry.index != place {
            return Err(Fault::Misplaced { place, found: entry.index });
        }
        if entry.at < self.last {
            return Err(Fault::Backwards { place });
        }
        self.last = entry.at;
        self.frontier.push(hash);
        Ok(entry)
    }

    /// Ends the check and gives the log's right edge.
    ///
    /// # Errors
    /// When the log is shorter than what was signed, or its root another.
    pub fn finish(mut self) -> Result<Frontier, Fault> {
        self.hold()?;
        match self.anchors.last() {
            Some(Anchor { size, .. }) if *size > self.size() => {
                Err(Fault::Truncated { found: self.size(), signed: *size })
            }
            Some(_) | None => Ok(self.frontier),
        }
    }

    /// Holds the entries so far against the anchors of just this size.
    fn hold(&mut self) -> Result<(), Fault> {
        while let Some(anchor) = self.anchors.get(self.held) {
            if anchor.size != self.size() {
                break;
            }
            if anchor.root != self.frontier.root() {
                return Err(Fault::Root { size: anchor.size });
            }
            self.held = self.held.saturating_add(1);
        }
        Ok(())
    }
}
