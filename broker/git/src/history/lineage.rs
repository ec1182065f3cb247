//! How the commits of the upstream are related that a push rests on, and what its merges are compared with.
//!
//! A merge may take over what one side changed. It must not bring back what was there before the sides parted, or
//! what a newer commit replaced: to a rule about files that is a change of its own. So a merge is compared with the
//! newest commits of the upstream that it rests on, and with the bases of those. What the push itself brings in
//! between is no side: it is decided by itself, and a commit on top of an old one must not hide that.
//!
//! Only what is proven counts. Asked for the history of `b` without that of `a`, an upstream may send more than that
//! (git does, where dates are odd), but never less than the commits between the two. So a way from `b` to `a` is
//! there if `b` descends from `a`; what was left out lies behind `a`; and what was sent proves nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Commit, Untold, parents};
use crate::{
    limits::{MERGE_BASES, PUSH_EDGES},
    name::ObjectId,
    pack::Objects,
};

/// Bits of a word.
const WORD: usize = 64;

/// Some of the commits of the upstream that a push rests on, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Bits([u64; PUSH_EDGES / WORD]);

impl Bits {
    fn set(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / WORD) {
            *word |= 1 << (place % WORD);
        }
    }

    fn has(&self, place: usize) -> bool {
        self.0.get(place / WORD).is_some_and(|word| word >> (place % WORD) & 1 != 0)
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    fn remove(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
    }

    fn places(&self) -> Vec<usize> {
        (0..PUSH_EDGES).filter(|place| self.has(*place)).collect()
    }
}

/// For each merge of a push, the commits of the upstream that it rests on.
pub struct Edges {
    all: Vec<ObjectId>,
    merges: BTreeMap<ObjectId, Bits>,
}

impl Edges {
    /// Follows what a push brings down to what it does not bring.
    ///
    /// # Errors
    /// When it rests on too much.
    pub fn of(commits: &[Commit], edge: &BTreeSet<ObjectId>) -> Result<Self, Untold> {
        if edge.len() > PUSH_EDGES {
            return Err(Untold::Edges);
        }
        let all: Vec<_> = edge.iter().copied().collect();
        let places: HashMap<_, _> = all.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let by_id: HashMap<_, _> = commits.iter().map(|commit| (commit.id, commit)).collect();
        let mut done: HashMap<ObjectId, Bits> = HashMap::new();
        for commit in commits {
            let mut stack = vec![commit];
            while let Some(commit) = stack.last().copied() {
                let is_open = |id: &&ObjectId| !done.contains_key(*id);
                let open = commit.parents.iter().filter(is_open);
                let open: Vec<_> = open.filter_map(|id| by_id.get(id).copied()).collect();
                if !open.is_empty() && !done.contains_key(&commit.id) {
                    stack.extend(open);
                    continue;
                }
                stack.pop();
                let mut bits = Bits::default();
                for parent in &commit.parents {
                    match (done.get(parent), places.get(parent)) {
                        (Some(below), _) => bits.add(below),
                        (None, Some(place)) => bits.set(*place),
                        // Why: `edge` is what is not among the commits, so this can't be.
                        (None, None) => return Err(Untold::Odd("a history")),
                    }
                }
                done.insert(commit.id, bits);
            }
        }
        let merges = commits.iter().filter(|commit| commit.parents.len() > 1);
        let merges = merges.filter_map(|commit| Some((commit.id, *done.get(&commit.id)?)));
        Ok(Self { merges: merges.collect(), all })
    }

    /// Those on which merges rest that rest on more than one.
    fn compared(&self) -> BTreeSet<ObjectId> {
        let many = self.merges.values().map(Bits::places).filter(|places| places.len() > 1);
        many.flatten().filter_map(|place| self.all.get(place).copied()).collect()
    }
}

/// What a commit is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measure {
    /// Commits. A file that differs from each of them is changed. Without any, every file is.
    pub sides: Vec<ObjectId>,
    /// Merge bases of the sides. A file that differs from one side and is as in a base is changed, too.
    pub bases: Vec<ObjectId>,
    /// Whether a file is changed that differs from any side.
    pub any: bool,
}

impl Measure {
    /// That of a commit with at most one parent, and of a merge that rests on nothing of the upstream's: of that,
    /// whatever it takes over is brought, and decided, as well.
    #[must_use]
    pub fn of_parents(commit: &Commit) -> Self {
        Self { sides: commit.parents.clone(), bases: vec![], any: true }
    }
}

/// What is next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// To ask the upstream for the history of `want`, without that of `pivot`.
    Ask {
        /// Whose history stays out.
        pivot: ObjectId,
        /// Whose history is wanted.
        want: BTreeSet<ObjectId>,
    },
    /// The measure of each merge.
    Done(BTreeMap<ObjectId, Measure>),
}

/// What is known of the upstream's history.
#[derive(Default)]
pub struct Lineage {
    parents: HashMap<ObjectId, Vec<ObjectId>>,
    /// For each pivot, whose history was wanted.
    asked: HashMap<ObjectId, BTreeSet<ObjectId>>,
    /// For each pivot, those of them that were left out: they lie behind it.
    behind: HashMap<ObjectId, BTreeSet<ObjectId>>,
    /// Pivots for which there was no answer, and why.
    unanswered: BTreeMap<ObjectId, String>,
}

impl Lineage {
    /// Takes an answer.
    ///
    /// # Errors
    /// When a commit in it can't be read.
    pub fn learn(
        &mut self,
        pivot: ObjectId,
        want: BTreeSet<ObjectId>,
        answer: &Objects,
    ) -> Result<(), Untold> {
        for (id, bytes) in answer.commits() {
            if !answer.pace.proceed() {
                return Err(Untold::Stopped);
            }
            let unread = || Untold::Lineage("a commit of the upstream can't be read".to_owned());
            self.parents.insert(id, parents(bytes).ok_or_else(unread)?);
        }
        let left_out = want.iter().copied().filter(|id| !answer.has(*id)).collect();
        self.behind.insert(pivot, left_out);
        self.asked.insert(pivot, want);
        Ok(())
    }

    /// Takes that there is no answer.
    pub fn learn_nothing(&mut self, pivot: ObjectId, why: String) {
        self.unanswered.insert(pivot, why);
    }

    /// Finds out how the commits are related on which merges rest.
    ///
    /// # Errors
    /// When it can't be known.
    pub fn step(&self, edges: &Edges, commits: &[Commit], pace: &Objects) -> Result<Step, Untold> {
        let compared = edges.compared();
        let mut below: HashMap<usize, Bits> = HashMap::new();
        for (place, id) in edges.all.iter().enumerate().filter(|(_, id)| compared.contains(id)) {
            if !pace.pace.proceed() {
                return Err(Untold::Stopped);
            }
            below.insert(place, self.below(*id, &edges.all));
        }
        let mut measures = BTreeMap::new();
        for commit in commits.iter().filter(|commit| commit.parents.len() > 1) {
            if !pace.pace.proceed() {
                return Err(Untold::Stopped);
            }
            let Some(rests) = edges.merges.get(&commit.id) else { continue };
            let mut newest = *rests;
            for place in rests.places() {
                newest.remove(&below.get(&place).copied().unwrap_or_default());
            }
            let newest = newest.places().into_iter().filter_map(|at| edges.all.get(at).copied());
            let newest: Vec<_> = newest.collect();
            let measure = match newest.as_slice() {
                [] if rests.places().is_empty() => Measure::of_parents(commit),
                [] => return Err(Untold::Lineage("its history goes in a circle".to_owned())),
                [only] => Measure { sides: vec![*only], ..Measure::default() },
                [one, other] => match self.open(&newest)? {
                    Some(pivot) => return Ok(Self::ask(pivot, compared)),
                    None => self.of_two(*one, *other),
                },
                // Why no bases: of more than two, each pair has its own. What differs from any of them is
                // taken for changed, which is more than is.
                [_, ..] if newest.iter().any(|id| self.asked.contains_key(id)) => {
                    Measure { sides: newest, bases: vec![], any: true }
                }
                [_, ..] => match self.open(&newest)? {
                    Some(pivot) => return Ok(Self::ask(pivot, compared)),
                    None => Measure { sides: newest, bases: vec![], any: true },
                },
            };
            measures.insert(commit.id, measure);
        }
        Ok(Step::Done(measures))
    }

    /// One of these that is still to be asked about; nothing when all are answered.
    ///
    /// # Errors
    /// When one has no answer and no other is left that may show that it does not matter.
    fn open(&self, pivots: &[ObjectId]) -> Result<Option<ObjectId>, Untold> {
        let mut open = pivots.iter().filter(|id| !self.asked.contains_key(id));
        match open.clone().find(|id| !self.unanswered.contains_key(id)) {
            Some(pivot) => Ok(Some(*pivot)),
            None => match open.find_map(|id| self.unanswered.get(id)) {
                Some(why) => Err(Untold::Lineage(why.clone())),
                None => Ok(None),
            },
        }
    }

    fn ask(pivot: ObjectId, mut want: BTreeSet<ObjectId>) -> Step {
        want.remove(&pivot);
        Step::Ask { pivot, want }
    }

    /// A merge of two that are not behind each other.
    fn of_two(&self, one: ObjectId, other: ObjectId) -> Measure {
        let (mine, theirs) = (self.reached(one), self.reached(other));
        let common: HashSet<_> = mine.intersection(&theirs).copied().collect();
        let above = common.iter().filter_map(|id| self.parents.get(id)).flatten();
        let above: HashSet<_> = above.collect();
        let bases: Vec<_> = common.iter().copied().filter(|id| !above.contains(id)).collect();
        // Why any without a base: files of histories that have nothing in common are all compared.
        let any = bases.is_empty() || bases.len() > MERGE_BASES;
        let bases = if any { vec![] } else { bases };
        Measure { sides: vec![one, other], bases, any }
    }

    /// Everything that is known to be reached from a commit, with itself.
    fn reached(&self, from: ObjectId) -> HashSet<ObjectId> {
        let (mut seen, mut next) = (HashSet::from([from]), vec![from]);
        while let Some(id) = next.pop() {
            let parents = self.parents.get(&id).into_iter().flatten();
            next.extend(parents.copied().filter(|id| seen.insert(*id)));
        }
        seen
    }

    /// Which of these are proven to lie behind a commit.
    fn below(&self, from: ObjectId, all: &[ObjectId]) -> Bits {
        let mut reached = self.reached(from);
        let known: Vec<_> = reached.iter().filter_map(|id| self.behind.get(id)).collect();
        let known: Vec<_> = known.into_iter().flatten().copied().collect();
        reached.extend(known);
        let mut bits = Bits::default();
        let below = |(_, id): &(usize, &ObjectId)| **id != from && reached.contains(*id);
        all.iter().enumerate().filter(below).for_each(|(place, _)| bits.set(place));
        bits
    }
}

#[cfg(test)]
mod tests;
