//! The audit log's entries: what they hold, and the one text that each of them has.
//!
//! An entry's text is JSON with the fields in the order written in this room, without spaces; its
//! bytes are the leaf of the Merkle log. A text that this program would have written otherwise is
//! no entry, so that no two texts say the same.

mod denials;
mod event;
mod facts;
mod filter;
#[cfg(test)]
mod golden;
mod names;
mod subject;
mod words;

use serde::{Deserialize, Serialize};

use crate::ttl::Timestamp;

pub use self::{
    denials::{DenialBudget, DenialCount, DenialKind, Recording, Summary},
    event::Event,
    facts::{Facts, Outcome},
    filter::{EntryFilter, Resources},
    subject::{About, Subject},
};

/// Version of the entries' form.
pub const ENTRY_VERSION: u8 = 1;
/// Longest text of an entry, in bytes (C2SP tlog-tiles: an entry's length is told in 16 bits).
pub const ENTRY_BYTES: usize = 65_535;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Version of the form.
    pub v: u8,
    /// Place in the log, from 0.
    pub index: u64,
    /// When, never earlier than the entry before.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

/// Why a text is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Longer than any entry.
    #[error("it is longer than {ENTRY_BYTES} bytes")]
    TooLong,
    /// Another program wrote it.
    #[error("it has version {0}; this program reads version {ENTRY_VERSION}")]
    Version(u8),
    /// No entry at all.
    #[error("it can't be read: {0}")]
    Unreadable(String),
    /// It says the same as an entry in other bytes.
    #[error("it is not written as an entry is: other spaces, order or numbers")]
    NotCanonical,
}

impl Entry {
    /// The text that is stored and hashed.
    ///
    /// # Errors
    /// When it would be longer than an entry may be.
    pub fn text(&self) -> Result<String, EntryError> {
        let text = serde_json::to_string(self)
            .map_err(|error| EntryError::Unreadable(error.to_string()))?;
        if text.len() > ENTRY_BYTES { Err(EntryError::TooLong) } else { Ok(text) }
    }

    /// Reads a text, strictly.
    ///
    /// # Errors
    /// When it is not byte for byte what [`Self::text`] gives.
    pub fn parse(text: &[u8]) -> Result<Self, EntryError> {
        if text.len() > ENTRY_BYTES {
            return Err(EntryError::TooLong);
        }
        let entry: Self = serde_json::from_slice(text)
            .map_err(|error| EntryError::Unreadable(error.to_string()))?;
        if entry.v != ENTRY_VERSION {
            return Err(EntryError::Version(entry.v));
        }
        if entry.text()?.as_bytes() == text { Ok(entry) } else { Err(EntryError::NotCanonical) }
    }
}
