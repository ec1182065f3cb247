//! Counts entries by what they say, over time, without reading them.

use std::{collections::BTreeMap, time::Instant};

use rusqlite::Connection;

use super::{
    LogIndex, SEGMENT, file,
    places::Set,
    search::{Groups, Resolved},
    term::{Kind, Query, Term},
};
use crate::store::StoreError;

/// Values that are told apart. Why: each is looked up in each segment.
const VALUES: usize = 2_000;

/// A part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Its first entry.
    pub low: u64,
    /// Behind its last.
    pub high: u64,
}

/// Entries by value, for each bucket, or why they were not counted.
pub type Counted = Result<Vec<BTreeMap<String, u64>>, Uncounted>;

/// Why entries were not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncounted {
    /// There are too many values to tell apart.
    Values,
    /// Too many resources fit.
    Resources,
    /// It took too long.
    Late,
}

impl LogIndex {
    /// Counts the candidates of a query by their values of a kind, in buckets that follow each other,
    /// if that is done by a moment.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn count(
        &self,
        query: &Query,
        kind: Kind,
        buckets: &[Bucket],
        until: Instant,
    ) -> Result<Counted, StoreError> {
        self.with(|db| {
            let Some(values) = self.values(db, kind)? else { return Ok(Err(Uncounted::Values)) };
            let Resolved { groups, whole } = self.resolve(db, query)?;
            if !whole {
                return Ok(Err(Uncounted::Resources));
            }
            let mut counted = vec![BTreeMap::new(); buckets.len()];
            let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else {
                return Ok(Ok(counted));
            };
            let tail = self.tail().number;
            let end = (last.high.saturating_sub(1) / SEGMENT).min(tail);
            for segment in first.low / SEGMENT..=end {
                if Instant::now() > until {
                    return Ok(Err(Uncounted::Late));
                }
                let fitting = (!groups.0.is_empty()).then(|| self.set(db, &groups, segment));
                let fitting = fitting.transpose()?;
                if fitting.as_ref().is_some_and(Set::is_empty) {
                    continue;
                }
                for (value, term) in &values {
                    self.add(db, (segment, *term), value, fitting.as_ref(), buckets, &mut counted)?;
                }
            }
            Ok(Ok(counted))
        })
    }

    fn add(
        &self,
        db: &Connection,
        (segment, term): (u64, Term),
        value: &str,
        fitting: Option<&Set>,
        buckets: &[Bucket],
        counted: &mut [BTreeMap<String, u64>],
    ) -> Result<(), StoreError> {
        let start = segment.saturating_mul(SEGMENT);
        let within = buckets
            .iter()
            .position(|bucket| bucket.low <= start && start.saturating_add(SEGMENT) <= bucket.high);
        let in_file = segment != self.tail().number;
        if let (Some(at), None, true) = (within, fitting, in_file) {
            let count = file::count(db, term, segment)?;
            add_to(counted, at, value, count);
            return Ok(());
        }
        let mut set = self.set(db, &Groups(vec![vec![vec![term]]]), segment)?;
        if let Some(fitting) = fitting {
            set.keep(fitting);
        }
        for place in set.iter() {
            let index = start.saturating_add(place.into());
            let at = buckets.partition_point(|bucket| bucket.high <= index);
            if buckets.get(at).is_some_and(|bucket| bucket.low <= index) {
                add_to(counted, at, value, 1);
            }
        }
        Ok(())
    }

    fn values(
        &self,
        db: &Connection,
        kind: Kind,
    ) -> Result<Option<Vec<(String, Term)>>, StoreError> {
        let mut values = BTreeMap::new();
        for (term, (own, text)) in &self.tail().names {
            if *own == kind {
                values.insert(text.clone(), *term);
            }
        }
        file::each_name(db, kind, |text, term| {
            values.insert(text, term);
            values.len() <= VALUES
        })?;
        Ok((values.len() <= VALUES).then(|| values.into_iter().collect()))
    }
}

fn add_to(counted: &mut [BTreeMap<String, u64>], at: usize, value: &str, count: u64) {
    let Some(bucket) = counted.get_mut(at).filter(|_| count > 0) else { return };
    match bucket.get_mut(value) {
        Some(sum) => *sum = sum.saturating_add(count),
        None => {
            bucket.insert(value.to_owned(), count);
        }
    }
}
