//! A segment that is still growing, in memory.

use std::collections::HashMap;

use jeton_domain::{audit::Entry, ttl::Timestamp};

use super::{
    SEGMENT,
    places::Set,
    term::{Kind, Term, TermKey, each_term},
};

/// Entries between two times that are kept. Why: whoever looks for a moment reads so many at most.
pub const STRIDE: u64 = 256;

/// The segment.
#[derive(Clone)]
pub struct Segment {
    /// Which.
    pub number: u64,
    /// Entries in it.
    pub count: u64,
    key: TermKey,
    /// Where each term is.
    pub postings: HashMap<Term, Vec<u16>>,
    /// Values by name.
    pub names: HashMap<Term, (Kind, String)>,
    /// Time of each [`STRIDE`]th entry, in milliseconds.
    pub times: Vec<i64>,
}

impl Segment {
    /// An empty one.
    pub fn new(number: u64, key: TermKey) -> Self {
        let (postings, names) = (HashMap::new(), HashMap::new());
        Self { number, count: 0, key, postings, names, times: Vec::new() }
    }

    /// An empty one behind it.
    pub fn next(&self) -> Self {
        Self::new(self.number.saturating_add(1), self.key)
    }

    /// Index of its first entry.
    pub fn start(&self) -> u64 {
        self.number.saturating_mul(SEGMENT)
    }

    /// Index behind its last entry.
    pub fn end(&self) -> u64 {
        self.start().saturating_add(self.count)
    }

    /// Whether no more fit.
    pub fn is_full(&self) -> bool {
        self.count >= SEGMENT
    }

    /// Takes the next entry.
    pub fn take(&mut self, entry: &Entry) {
        let Ok(place) = u16::try_from(self.count) else { return };
        if self.count.is_multiple_of(STRIDE) {
            self.times.push(entry.at.millis());
        }
        each_term(entry, |kind, value| {
            let term = self.key.term(kind, value);
            let places = self.postings.entry(term).or_default();
            // Why: a scope may name an action twice.
            if places.last() != Some(&place) {
                places.push(place);
            }
            if kind.is_named() && !self.names.contains_key(&term) {
                self.names.insert(term, (kind, value.to_owned()));
            }
        });
        self.count = self.count.saturating_add(1);
    }

    /// The places of a term.
    pub fn put_into(&self, set: &mut Set, term: Term) {
        self.postings.get(&term).into_iter().flatten().for_each(|place| set.put(*place));
    }

    /// The index at which to begin looking for a moment, if it lies within.
    pub fn near(&self, at: Timestamp) -> Option<u64> {
        near(self.start(), &self.times, at)
    }
}

/// The same for kept times.
pub fn near(start: u64, times: &[i64], at: Timestamp) -> Option<u64> {
    let behind = times.partition_point(|time| *time < at.millis());
    let stride = u64::try_from(behind.checked_sub(1)?).ok()?;
    Some(start.saturating_add(stride.saturating_mul(STRIDE)))
}
