//! What a push brings along, file by file and commit by commit, with what the upstream has beside it.
//!
//! Reading packs and history runs on the threads of `readers`; only the upstream is waited for here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jeton_domain::{
    deed::{Change, Deed},
    known::Known,
};
use jeton_git::{
    history::{Ancestry, Changes, Commit, Edges, Lineage, Measure, Missing, Step, Untold, folded},
    limits::PUSH_FILES,
    name::ObjectId,
    pack::{Objects, Size},
};

use super::fetch::{FetchError, Origin, Question};

/// Rounds of asking the upstream for folders that are missing.
const ROUNDS: usize = 4;

/// The objects of one push, and what the upstream said about them.
pub(super) struct Content<'a> {
    origin: &'a Origin<'a>,
    objects: Objects,
}

/// A ref whose new commits are to be read.
pub(super) struct Root {
    /// Where it goes.
    pub new: ObjectId,
    /// What that may be to it.
    pub changes: &'static [Change],
}

/// What merges of a push are compared with.
type Measures = Arc<BTreeMap<ObjectId, Measure>>;

impl<'a> Content<'a> {
    pub fn new(origin: &'a Origin<'a>, objects: Objects) -> Self {
        Self { origin, objects }
    }

    /// How many objects the push has.
    pub fn count(&self) -> u64 {
        self.objects.count
    }

    /// Works on the objects on a thread of its own.
    async fn on<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Objects) -> T + Send + 'static,
    ) -> Result<T, Untold> {
        let mut objects = std::mem::take(&mut self.objects);
        let run = self.origin.readers.run(self.origin.budget.time(), move |pace| {
            objects.pace = pace;
            let done = work(&mut objects);
            (objects, done)
        });
        let (objects, done) = run.await.map_err(|_| Untold::Odd("something"))?;
        self.objects = objects;
        Ok(done)
    }

    /// Whether a ref moves forward: whether where it goes descends from where it stood.
    pub async fn moves_forward(&mut self, old: ObjectId, new: ObjectId) -> Known {
        let edge = match self.on(move |objects| objects.ancestry(new, old)).await {
            Ok(Ancestry::Yes) => return Known::Yes,
            Ok(Ancestry::No) => return Known::No,
            Ok(Ancestry::Unknown) | Err(_) => return Known::Unknown,
            Ok(Ancestry::Beyond(edge)) => edge,
        };
        let question = Question {
            want: edge.iter().copied().collect(),
            have: vec![old],
            deepen: None,
            filter: "tree:0",
        };
        let Ok(mut more) = self.origin.fetch(&question).await else { return Known::Unknown };
        // The upstream left out at most what lies behind `old`: a way there is in what it sent, if there is one.
        let leads = self.origin.readers.run(self.origin.budget.time(), move |pace| {
            more.pace = pace;
            Known::any(edge.iter().map(|id| match more.ancestry(*id, old) {
                Ancestry::Yes => Known::Yes,
                Ancestry::No | Ancestry::Beyond(_) => Known::No,
                Ancestry::Unknown => Known::Unknown,
            }))
        });
        leads.await.unwrap_or(Known::Unknown)
    }

    /// All that policies decide about what each of these refs brings.
    pub async fn deeds(&mut self, roots: &[Root]) -> Vec<Result<Vec<Deed>, Untold>> {
        let mut heads = Vec::new();
        for root in roots {
            let new = root.new;
            let head = self.on(move |objects| head(objects, new)).await;
            heads.push(head.and_then(|head| head));
        }
        let good: Vec<ObjectId> =
            heads.iter().filter_map(|head| head.as_ref().ok().copied()).collect();
        let measures = match self.measures(good).await {
            Ok(measures) => measures,
            // Why for all: one pack brings them, and it goes on whole or not at all.
            Err(error) => {
                let all = heads.into_iter().map(|head| head.and(Err(error.clone())));
                return all.collect();
            }
        };
        let mut told = Vec::new();
        for (root, head) in roots.iter().zip(heads) {
            told.push(match head {
                Ok(head) => self.deeds_of(head, root.changes, &measures).await,
                Err(error) => Err(error),
            });
        }
        told
    }

    /// Finds out what each merge is compared with, and brings what commits are compared with.
    async fn measures(&mut self, heads: Vec<ObjectId>) -> Result<Measures, Untold> {
        self.bring_strangers(heads.clone()).await?;
        let mut lineage = Lineage::default();
        let measures = loop {
            let heads = heads.clone();
            let work = self.on(move |objects| {
                let (commits, edge) = objects.brought(&heads)?;
                let step = lineage.step(&Edges::of(&commits, &edge)?, &commits, objects)?;
                Ok((step, lineage))
            });
            let (step, known) = work.await.and_then(|step| step)?;
            lineage = known;
            match step {
                Step::Done(measures) => break Arc::new(measures),
                Step::Ask { pivot, want } => {
                    let question = Question {
                        want: want.iter().copied().collect(),
                        have: vec![pivot],
                        deepen: None,
                        filter: "tree:0",
                    };
                    let answer = match self.origin.fetch(&question).await {
                        Ok(answer) => answer,
                        Err(error) if error.ends_the_push() => return Err(not_had(error)),
                        // Why not the end: without another one's history the answer may be smaller.
                        Err(error) => {
                            lineage.learn_nothing(pivot, error.to_string());
                            continue;
                        }
                    };
                    let learned = self.on(move |objects| {
                        let mut answer = answer;
                        answer.pace = objects.pace.clone();
                        lineage.learn(pivot, want, &answer).map(|()| lineage)
                    });
                    lineage = learned.await.and_then(|learned| learned)?;
                }
            }
        };
        let (known, all) = (Arc::clone(&measures), heads);
        let missing = self.on(move |objects| {
            let (commits, _) = objects.brought(&all)?;
            let compared = commits.iter().flat_map(|commit| {
                let Measure { sides, bases, .. } = measure(&known, commit);
                sides.into_iter().chain(bases)
            });
            Ok(compared.filter(|id| objects.get(*id).is_none()).collect::<BTreeSet<_>>())
        });
        let commits = missing.await.and_then(|missing| missing)?;
        self.bring(Missing { commits, trees: BTreeSet::new() }).await?;
        Ok(measures)
    }

    /// Brings in those commits that the upstream has and that none of its branches holds, such as one of somebody's
    /// fork: they are as new to its branches as what the push brings.
    async fn bring_strangers(&mut self, heads: Vec<ObjectId>) -> Result<(), Untold> {
        let edge = self.on(move |objects| objects.brought(&heads).map(|(_, edge)| edge));
        let edge = edge.await.and_then(|edge| edge)?;
        if edge.is_empty() {
            return Ok(());
        }
        let tips = self.origin.tips().await.map_err(not_had)?;
        let edge: BTreeSet<ObjectId> = edge.into_iter().filter(|id| !tips.contains(id)).collect();
        if edge.is_empty() {
            return Ok(());
        }
        let question = Question {
            want: edge.into_iter().collect(),
            have: tips.into_iter().collect(),
            deepen: None,
            filter: "blob:none",
        };
        let more = self.origin.fetch(&question).await.map_err(not_had)?;
        self.on(move |objects| objects.add(more)).await
    }

    /// Brings in what is missing and the upstream has.
    async fn bring(&mut self, missing: Missing) -> Result<(), Untold> {
        let commits = Question {
            want: missing.commits.iter().copied().collect(),
            deepen: Some(1),
            filter: "blob:none",
            ..Question::default()
        };
        let trees = Question {
            want: missing.trees.iter().copied().collect(),
            filter: "blob:none",
            ..Question::default()
        };
        for question in [commits, trees] {
            if !question.want.is_empty() {
                let more = self.origin.fetch(&question).await.map_err(not_had)?;
                let meant = missing.commits.clone();
                self.on(move |objects| objects.add_theirs(more, &meant)).await?;
            }
        }
        Ok(())
    }

    async fn deeds_of(
        &mut self,
        head: ObjectId,
        changes: &'static [Change],
        measures: &Measures,
    ) -> Result<Vec<Deed>, Untold> {
        let brought = self.on(move |objects| objects.brought(&[head]).map(|(commits, _)| commits));
        let mut open = brought.await.and_then(|brought| brought)?;
        let mut deeds = Vec::new();
        for commit in &open {
            let author: Arc<str> = commit.author.as_str().into();
            for change in changes {
                let (change, author) = (*change, Arc::clone(&author));
                deeds.push(Deed::Commit { change, author, signed_off: commit.signed_off });
            }
        }
        let (mut files, mut round) = (Files::new(), 0);
        while !open.is_empty() {
            let known = Arc::clone(measures);
            let read = self.on(move |objects| {
                let (mut missing, mut left) = (Missing::default(), Vec::new());
                for commit in open {
                    match objects.changes(&commit, &measure(&known, &commit)) {
                        Ok(changes) => add(&mut files, objects, &changes)?,
                        Err(Untold::Missing(more)) => {
                            missing.commits.extend(more.commits);
                            missing.trees.extend(more.trees);
                            left.push(commit);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok((files, left, missing))
            });
            let missing;
            (files, open, missing) = read.await.and_then(|read| read)?;
            if !open.is_empty() {
                round += 1;
                if round > ROUNDS {
                    return Err(Untold::Missing(missing));
                }
                self.bring(missing).await?;
            }
        }
        let told = self.on(move |_| {
            for (path, sizes) in &files {
                let plain = folded(path);
                // Why in both spellings: what a careless file system takes for a file is ruled like it.
                let spellings =
                    [Some(path.as_str()), Some(plain.as_str()).filter(|own| own != path)];
                for path in spellings.into_iter().flatten() {
                    let path: Arc<str> = path.into();
                    for (change, bytes) in changes.iter().flat_map(|change| sizes.each(*change)) {
                        deeds.push(Deed::File { change, path: Arc::clone(&path), bytes });
                    }
                }
            }
            deeds
        });
        told.await
    }
}

/// The commit to which a ref goes.
fn head(objects: &Objects, new: ObjectId) -> Result<ObjectId, Untold> {
    let head = objects.peeled(new);
    if objects.is_no_commit(head) {
        return Err(Untold::Odd("what is no commit"));
    }
    // Why here: what can't be read of one ref is that ref's fault alone.
    objects.brought(&[head]).map(|_| head)
}

fn measure(known: &Measures, commit: &Commit) -> Measure {
    known.get(&commit.id).cloned().unwrap_or_else(|| Measure::of_parents(commit))
}

fn not_had(error: FetchError) -> Untold {
    Untold::NotHad(error.to_string())
}

/// Files that a ref changes, by their paths.
type Files = BTreeMap<String, Sizes>;

/// What becomes of one file: rules about sizes may bound them from both sides, so both ends are decided.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    /// A commit removes it, or only moves it.
    none: bool,
    /// The smallest and the largest that it may get.
    range: Option<(u64, u64)>,
}

impl Sizes {
    fn add(&mut self, smallest: u64, largest: u64) {
        let (low, high) = self.range.unwrap_or((smallest, largest));
        self.range = Some((low.min(smallest), high.max(largest)));
    }

    /// Everything that is decided of it.
    fn each(self, change: Change) -> impl Iterator<Item = (Change, Option<u64>)> {
        let (low, high) = self.range.unzip();
        let high = high.filter(|high| Some(*high) != low);
        let none = self.none.then_some(None);
        none.into_iter()
            .chain(low.map(Some))
            .chain(high.map(Some))
            .map(move |bytes| (change, bytes))
    }
}

fn add(files: &mut Files, objects: &Objects, changes: &Changes) -> Result<(), Untold> {
    let before: BTreeSet<_> = changes.values().filter_map(|changed| changed.was).collect();
    for (path, changed) in changes {
        let sizes = files.entry(path.clone()).or_default();
        match changed.is.map(|id| (id, objects.size(id))) {
            None => sizes.none = true,
            Some((_, Some(Size::Is(bytes)))) => sizes.add(bytes, bytes),
            // Why from nothing on: what is not known may be anything that a rule forbids.
            Some((_, Some(Size::AtMost(bytes)))) => sizes.add(0, bytes),
            // It stood elsewhere before.
            Some((id, None)) if before.contains(&id) => sizes.none = true,
            // The upstream has it, and nobody knows how large it is.
            Some((_, None)) => sizes.add(0, u64::MAX),
        }
        if files.len() > PUSH_FILES {
            return Err(Untold::TooMuch);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_size_are_decided_and_a_removal_beside_them() {
        let each =
            |sizes: Sizes| sizes.each(Change::Update).map(|(_, bytes)| bytes).collect::<Vec<_>>();
        let mut sizes = Sizes { none: true, range: None };
        assert_eq!(each(sizes), [None]);
        sizes.add(5, 5);
        assert_eq!(each(sizes), [None, Some(5)]);
        sizes.add(0, u64::MAX);
        assert_eq!(each(sizes), [None, Some(0), Some(u64::MAX)]);
        let mut known = Sizes::default();
        known.add(7, 7);
        assert_eq!(each(known), [Some(7)]);
    }
}
