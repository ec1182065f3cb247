//! Searches: candidates in order, segment by segment, those without any passed over.

use rusqlite::Connection;

use super::{
    LogIndex, SEGMENT, file,
    places::Set,
    term::{Kind, Query, Term},
};
use crate::store::StoreError;

/// Resources that a pattern may stand for. Why: beyond it most entries fit, and reading them is
/// faster than joining so many lists.
const RESOURCES: usize = 512;
/// Segments that one search looks into.
const SEGMENTS: usize = 256;

/// Which part of the log, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first index.
    pub low: u64,
    /// Behind the last.
    pub high: u64,
    /// From the low end to the high one.
    pub oldest_first: bool,
}

/// Entries that may be what was asked for, in the order asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// Their indexes.
    pub places: Vec<u64>,
    /// What is left to search; none at the end.
    pub rest: Option<Span>,
}

impl Span {
    /// What is left behind an entry.
    #[must_use]
    pub fn behind(self, place: u64) -> Option<Self> {
        let rest = if self.oldest_first {
            Self { low: place.saturating_add(1), ..self }
        } else {
            Self { high: place, ..self }
        };
        (rest.low < rest.high).then_some(rest)
    }

    /// Where it begins: the index of the first entry, or the one behind it.
    #[must_use]
    pub fn begin(self) -> u64 {
        if self.oldest_first { self.low } else { self.high }
    }

    fn cut(self, segment: u64) -> Option<Self> {
        let start = segment.saturating_mul(SEGMENT);
        let rest = if self.oldest_first {
            Self { low: start.saturating_add(SEGMENT).max(self.low), ..self }
        } else {
            Self { high: start.min(self.high), ..self }
        };
        (rest.low < rest.high).then_some(rest)
    }

    fn first_segment(self) -> u64 {
        if self.oldest_first { self.low / SEGMENT } else { self.high.saturating_sub(1) / SEGMENT }
    }
}

/// What an entry must have: of each group one choice, and of that every term.
pub(super) struct Groups(pub Vec<Vec<Vec<Term>>>);

/// A query as terms.
pub(super) struct Resolved {
    /// What an entry must have.
    pub groups: Groups,
    /// Whether that is all that the query asks for: too many resources are left out, and held against
    /// the entries themselves.
    pub whole: bool,
}

impl LogIndex {
    /// At most `most` candidates. Entries that it has not taken in yet are all candidates.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn candidates(
        &self,
        query: &Query,
        span: Span,
        most: usize,
    ) -> Result<Candidates, StoreError> {
        let indexed = self.size();
        let unknown = if span.oldest_first { span.low } else { span.high.saturating_sub(1) };
        if span.low >= span.high {
            return Ok(Candidates { places: Vec::new(), rest: None });
        }
        if unknown >= indexed {
            return Ok(unsearched(span, indexed, most));
        }
        let known = Span { high: span.high.min(indexed), ..span };
        let found = self.with(|db| {
            let resolved = self.resolve(db, query)?;
            if resolved.groups.0.is_empty() {
                return Ok(unsearched(known, 0, most));
            }
            self.search(db, &resolved.groups, known, most)
        })?;
        // What the index had not taken in when this began comes last, if the oldest come first.
        let unknown = Span { low: known.high, ..span };
        let rest = match found.rest {
            Some(rest) => {
                Some(Span { high: span.high, ..rest }).filter(|_| span.oldest_first).or(found.rest)
            }
            None => Some(unknown).filter(|unknown| unknown.low < unknown.high),
        };
        Ok(Candidates { rest, ..found })
    }

    fn search(
        &self,
        db: &Connection,
        groups: &Groups,
        span: Span,
        most: usize,
    ) -> Result<Candidates, StoreError> {
        let mut places = Vec::new();
        let mut rest = Some(span);
        for _ in 0..SEGMENTS {
            let Some(now) = rest else { break };
            let Some(segment) = self.next_segment(db, groups, now)? else {
                // Why not the end: what came in meanwhile may have it.
                rest = None;
                break;
            };
            let set = self.set(db, groups, segment)?;
            let start = segment.saturating_mul(SEGMENT);
            let index = |place: u16| start.saturating_add(place.into());
            let fits = |index: &u64| (now.low..now.high).contains(index);
            let wanted = most.saturating_sub(places.len());
            let before = places.len();
            if now.oldest_first {
                places.extend(set.iter().map(index).filter(fits).take(wanted));
            } else {
                places.extend(set.iter().rev().map(index).filter(fits).take(wanted));
            }
            rest = match places.last() {
                Some(last) if places.len() >= most => now.behind(*last),
                Some(_) | None => now.cut(segment),
            };
            if places.len() >= most || (places.len() == before && rest.is_none()) {
                break;
            }
        }
        Ok(Candidates { places, rest })
    }

    /// The next segment in which every group has something.
    fn next_segment(
        &self,
        db: &Connection,
        groups: &Groups,
        span: Span,
    ) -> Result<Option<u64>, StoreError> {
        let tail = self.tail().number;
        let mut segment = span.first_segment();
        loop {
            if segment >= tail {
                // The one in memory is looked into without asking: it costs nothing.
                return Ok((segment == tail).then_some(segment));
            }
            let mut furthest = segment;
            for group in &groups.0 {
                let mut best: Option<u64> = None;
                for terms in group {
                    let found = nearest_of_all(db, terms, segment, (span.oldest_first, tail))?;
                    best = match (best, found) {
                        (Some(best), Some(found)) if span.oldest_first => Some(best.min(found)),
                        (Some(best), Some(found)) => Some(best.max(found)),
                        (best, found) => best.or(found),
                    };
                }
                let Some(best) = best else { return Ok(None) };
                furthest = if span.oldest_first { furthest.max(best) } else { furthest.min(best) };
            }
            if furthest == segment {
                return Ok(Some(segment));
            }
            segment = furthest;
        }
    }

    /// The places of a segment that every group has.
    pub(super) fn set(
        &self,
        db: &Connection,
        groups: &Groups,
        segment: u64,
    ) -> Result<Set, StoreError> {
        let mut all = Set::all();
        for group in &groups.0 {
            let mut set = Set::none();
            for terms in group {
                if let [term] = terms.as_slice() {
                    self.put_into(db, &mut set, *term, segment)?;
                    continue;
                }
                let mut every = Set::all();
                for term in terms {
                    let mut one = Set::none();
                    self.put_into(db, &mut one, *term, segment)?;
                    every.keep(&one);
                }
                every.iter().for_each(|place| set.put(place));
            }
            all.keep(&set);
        }
        Ok(all)
    }

    fn put_into(
        &self,
        db: &Connection,
        set: &mut Set,
        term: Term,
        segment: u64,
    ) -> Result<(), StoreError> {
        let tail = self.tail();
        if tail.number == segment {
            tail.put_into(set, term);
            return Ok(());
        }
        drop(tail);
        file::put_into(db, set, term, segment)
    }

    /// Finds what a query stands for.
    pub(super) fn resolve(&self, db: &Connection, query: &Query) -> Result<Resolved, StoreError> {
        let exact =
            query.values.iter().map(|(kind, value)| vec![vec![self.key.term(*kind, value)]]);
        let mut groups = Groups(exact.collect());
        if let Some(own) = &query.within {
            if own.len() > RESOURCES {
                return Ok(Resolved { groups, whole: false });
            }
            let both = own.iter().map(|(upstream, resource)| {
                let kinds = [(Kind::Upstream, upstream), (Kind::Resource, resource)];
                kinds.map(|(kind, value)| self.key.term(kind, value)).to_vec()
            });
            groups.0.push(both.collect());
        }
        if let Some(pattern) = &query.resources {
            let mut terms = Vec::new();
            let mut take = |text: &str, term: Term| {
                if pattern.matches(text) && !terms.contains(&term) {
                    terms.push(term);
                }
                terms.len() <= RESOURCES
            };
            for (term, (kind, text)) in &self.tail().names {
                if *kind == Kind::Resource && !take(text, *term) {
                    break;
                }
            }
            file::each_name(db, Kind::Resource, |text, term| take(&text, term))?;
            if terms.len() > RESOURCES {
                return Ok(Resolved { groups, whole: false });
            }
            groups.0.push(terms.into_iter().map(|term| vec![term]).collect());
        }
        Ok(Resolved { groups, whole: true })
    }
}

impl Candidates {
    /// Entries as they come.
    #[must_use]
    pub fn all(span: Span, most: usize) -> Self {
        unsearched(span, 0, most)
    }
}

/// The nearest segment in which each of some terms may be: none before the furthest of them has all.
fn nearest_of_all(
    db: &Connection,
    terms: &[Term],
    segment: u64,
    (oldest_first, tail): (bool, u64),
) -> Result<Option<u64>, StoreError> {
    let mut furthest = segment;
    for term in terms {
        let found = file::nearest(db, *term, segment, oldest_first)?;
        let Some(found) = found.or_else(|| oldest_first.then_some(tail)) else { return Ok(None) };
        furthest = if oldest_first { furthest.max(found) } else { furthest.min(found) };
    }
    Ok(Some(furthest))
}

/// Entries as they come, down to a bound.
fn unsearched(span: Span, bound: u64, most: usize) -> Candidates {
    let count = u64::try_from(most).unwrap_or(u64::MAX);
    let (places, rest): (Vec<u64>, Span) = if span.oldest_first {
        let end = span.high.min(span.low.saturating_add(count));
        ((span.low..end).collect(), Span { low: end, ..span })
    } else {
        let end = span.low.max(bound).max(span.high.saturating_sub(count));
        ((end..span.high).rev().collect(), Span { high: end, ..span })
    };
    Candidates { places, rest: (rest.low < rest.high).then_some(rest) }
}
