//! Checks a whole log, entry by entry, against checkpoints: needs no broker and little memory.
//!
//! What somebody with the store but without the key could do (edit, insert, delete, reorder,
//! truncate, roll back) shows as a root that is not the signed one; where hashes of the single
//! entries are at hand, the entry itself is named.

use super::{
    builder::{FullTile, TileBuilder},
    hash::{Hash, leaf_hash},
    tile::TileId,
};
use crate::{
    audit::{Entry, EntryError, Event},
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
    /// A tile that was kept is not the one that the entries make.
    #[error("{tile}: it is not the tile of the entries from {from} on: it was changed")]
    Tile {
        /// Which.
        tile: TileId,
        /// The first entry below it.
        from: u64,
    },
    /// The entries do not have the root that was signed.
    #[error(
        "entries {held} to {size}: they are not those that the checkpoint of size {size} was signed for: some were changed, or the log was forked or rolled back"
    )]
    Root {
        /// Size of the checkpoint.
        size: u64,
        /// Entries before these, which are as another checkpoint says.
        held: u64,
    },
    /// One size, two roots.
    #[error(
        "two checkpoints of size {size} were signed for different entries: whoever signs showed different logs to different people"
    )]
    Forked {
        /// Size of both.
        size: u64,
    },
    /// Entries before the first one are gone, and the log does not say that they were moved.
    #[error("the entries before {first} are not there, and {}: they were removed", of_moved(*.moved))]
    Removed {
        /// The first that is there.
        first: u64,
        /// Behind the last that was moved out on record.
        moved: u64,
    },
    /// The entry that says so is not under a checkpoint.
    #[error(
        "the entries before {first} are not there, and the entry {place}, which says that they were moved out, is not under a checkpoint: a broker signs one within a second; verify again then"
    )]
    MovedUnsigned {
        /// The first that is there.
        first: u64,
        /// The entry that says where they are.
        place: u64,
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
    tiles: TileBuilder,
    last: Timestamp,
    first: u64,
    moved: Option<Moved>,
}

/// What the log says of the entries before its first one.
struct Moved {
    /// The entry that says it.
    place: u64,
    /// Behind the last of them.
    until: u64,
}

/// An entry that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What it says.
    pub entry: Entry,
    /// Tiles that it filled, as they must be.
    pub full: Vec<FullTile>,
}

impl LogVerifier {
    /// Will hold a log against all that is known of it. Two anchors of one size must both hold.
    #[must_use]
    pub fn new(anchors: Vec<Anchor>) -> Self {
        Self::resume(anchors, TileBuilder::new())
    }

    /// The same behind entries of which only the hashes are left. Anchors within them are passed
    /// over: whoever has the tiles holds them against those.
    #[must_use]
    pub fn resume(mut anchors: Vec<Anchor>, tiles: TileBuilder) -> Self {
        anchors.sort_unstable();
        anchors.retain(|anchor| anchor.size >= tiles.size());
        let (first, last) = (tiles.size(), Timestamp::from_millis(i64::MIN));
        Self { anchors, held: 0, tiles, last, first, moved: None }
    }

    /// Entries checked so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tiles.size()
    }

    /// Takes the next entry, with the hash that was kept of it apart from it, if one was.
    ///
    /// # Errors
    /// With what is wrong at this entry.
    pub fn feed(&mut self, text: &[u8], kept: Option<Hash>) -> Result<Checked, Fault> {
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
        if let Event::EntriesMoved { until, .. } = entry.event {
            self.moved = Some(Moved { place, until });
        }
        let full = self.tiles.push(hash);
        Ok(Checked { entry, full })
    }

    /// Ends the check and gives the log's right edge.
    ///
    /// # Errors
    /// When the log is shorter than what was signed, or its root another.
    pub fn finish(mut self) -> Result<TileBuilder, Fault> {
        self.hold()?;
        self.hold_first()?;
        match self.anchors.last() {
            Some(Anchor { size, .. }) if *size > self.size() => {
                Err(Fault::Truncated { found: self.size(), signed: *size })
            }
            Some(_) | None => Ok(self.tiles),
        }
    }

    /// Holds what is missing before the first entry against what the log says of it.
    fn hold_first(&self) -> Result<(), Fault> {
        let first = self.first;
        match &self.moved {
            _ if first == 0 => Ok(()),
            Some(moved) if moved.until == first => match self.anchors.last() {
                Some(last) if last.size <= moved.place => {
                    Err(Fault::MovedUnsigned { first, place: moved.place })
                }
                Some(_) | None => Ok(()),
            },
            other => {
                Err(Fault::Removed { first, moved: other.as_ref().map_or(0, |moved| moved.until) })
            }
        }
    }

    /// Holds the entries so far against the anchors of just this size.
    fn hold(&mut self) -> Result<(), Fault> {
        while let Some(anchor) = self.anchors.get(self.held) {
            if anchor.size != self.size() {
                break;
            }
            if anchor.root != self.tiles.frontier().root() {
                let before = self.held.checked_sub(1).and_then(|at| self.anchors.get(at));
                let held = before.map_or(0, |anchor| anchor.size);
                return Err(Fault::Root { size: anchor.size, held });
            }
            self.held = self.held.saturating_add(1);
        }
        Ok(())
    }
}

fn of_moved(until: u64) -> String {
    match until {
        0 => "the log does not say that they were moved out".to_owned(),
        until => format!("the log says so of those before {until} only"),
    }
}
