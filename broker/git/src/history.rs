//! What a push changes: read from the commits and trees that it brings, against what the upstream has.
//!
//! Spec: `gitformat-commit` (as `git cat-file -p` shows them); a tree is `MODE NAME\0ID` over and over.

mod lineage;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::atomic::Ordering,
};

pub use lineage::{Edges, Lineage, Measure, Step};

pub use crate::fold::folded;
use crate::{
    fold::is_short,
    limits::{
        FOLDERS_READ, PUSH_COMMITS, PUSH_EDGES, PUSH_FILES, PUSH_PARENTS, PUSH_SECONDS, TREE_DEPTH,
    },
    name::ObjectId,
    pack::{Kind, Objects},
};

/// A commit, as far as rules are about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its name.
    pub id: ObjectId,
    /// Its folder.
    pub tree: ObjectId,
    /// What it goes on from.
    pub parents: Vec<ObjectId>,
    /// The author's e-mail address, as it says.
    pub author: String,
    /// Whether it has a line `Signed-off-by` of its author or committer.
    pub signed_off: bool,
}

/// What is not here, and stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missing {
    /// Commits, with all their folders.
    pub commits: BTreeSet<ObjectId>,
    /// Folders.
    pub trees: BTreeSet<ObjectId>,
}

/// A file that a commit changes: its content's name before and after; none where it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Before.
    pub was: Option<ObjectId>,
    /// After.
    pub is: Option<ObjectId>,
}

/// Files that are changed, by their paths.
pub type Changes = BTreeMap<String, Changed>;

/// Why it can't be told what a push changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// These have to be had first.
    #[error("the push rests on objects that can't be had from the upstream")]
    Missing(Missing),
    /// These can't be had, for this reason.
    #[error("the push rests on objects that can't be had from the upstream: {0}")]
    NotHad(String),
    /// Something in it can't be read.
    #[error("the push holds {0} that can't be read")]
    Odd(&'static str),
    /// A path that does harm.
    #[error(
        "the push holds the path `{0}`, which a checkout would take for git's own or for another"
    )]
    Path(String),
    /// Too many files.
    #[error("the push changes more than {PUSH_FILES} files; push in parts")]
    TooMuch,
    /// Too many commits.
    #[error("the push brings more than {PUSH_COMMITS} commits; push in parts")]
    Commits,
    /// A merge of too many.
    #[error("the push brings a commit with more than {PUSH_PARENTS} parents; merge in parts")]
    Parents,
    /// It rests on too much.
    #[error(
        "the push rests on more than {PUSH_EDGES} different commits of the upstream; push in parts"
    )]
    Edges,
    /// What a merge is compared with is not known.
    #[error(
        "nobody can say how the commits are related that the push merges, so what the merge changes is not known: {0}"
    )]
    Lineage(String),
    /// The time for it is over.
    #[error("the push takes more than {PUSH_SECONDS} s of the broker's time; push in parts")]
    Stopped,
}

/// Whether one commit descends from another, by the objects that are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ancestry {
    /// It does.
    Yes,
    /// It does not: its whole history is here.
    No,
    /// The history of these is not here.
    Beyond(BTreeSet<ObjectId>),
    /// A commit on the way can't be read, or the time for it is over.
    Unknown,
}

impl Objects {
    /// A commit.
    fn commit(&self, id: ObjectId) -> Option<Result<Commit, Untold>> {
        match self.get(id)? {
            (Kind::Commit, bytes) => Some(commit(id, bytes).ok_or(Untold::Odd("a commit"))),
            (Kind::Tree | Kind::Blob | Kind::Tag, _) => {
                Some(Err(Untold::Odd("another object for a commit")))
            }
        }
    }

    /// The commit that a tag, or a tag of it, stands for; itself, if it is none or not here.
    #[must_use]
    pub fn peeled(&self, mut id: ObjectId) -> ObjectId {
        for _ in 0..TREE_DEPTH {
            let Some((Kind::Tag, bytes)) = self.get(id) else { break };
            let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let Some(next) = line.strip_prefix(b"object ").and_then(ObjectId::parse) else { break };
            id = next;
        }
        id
    }

    /// Whether this is here and no commit.
    #[must_use]
    pub fn is_no_commit(&self, id: ObjectId) -> bool {
        self.get(id).is_some_and(|(kind, _)| kind != Kind::Commit)
    }

    /// Whether `new` descends from `old`.
    #[must_use]
    pub fn ancestry(&self, new: ObjectId, old: ObjectId) -> Ancestry {
        let (mut seen, mut next, mut edge) = (HashSet::from([new]), vec![new], BTreeSet::new());
        let mut unread = false;
        while let Some(id) = next.pop() {
            if id == old {
                return Ancestry::Yes;
            }
            if !self.pace.proceed() {
                return Ancestry::Unknown;
            }
            match self.get(id) {
                // Why only the parents: an author that is written oddly does not break history.
                Some((Kind::Commit, bytes)) => match parents(bytes) {
                    Some(parents) => next.extend(parents.into_iter().filter(|id| seen.insert(*id))),
                    None => unread = true,
                },
                Some((Kind::Tree | Kind::Blob | Kind::Tag, _)) => unread = true,
                None => drop(edge.insert(id)),
            }
        }
        match (unread, edge.is_empty()) {
            (true, _) => Ancestry::Unknown,
            (false, true) => Ancestry::No,
            (false, false) => Ancestry::Beyond(edge),
        }
    }

    /// The commits from these on that are here, and those behind them that are not.
    ///
    /// # Errors
    /// When one can't be read, has too many parents, or there are too many.
    pub fn brought(&self, roots: &[ObjectId]) -> Result<(Vec<Commit>, BTreeSet<ObjectId>), Untold> {
        let (mut brought, mut edge) = (Vec::new(), BTreeSet::new());
        let mut seen: HashSet<ObjectId> = roots.iter().copied().collect();
        let mut next: VecDeque<ObjectId> = seen.iter().copied().collect();
        while let Some(id) = next.pop_front() {
            if !self.pace.proceed() {
                return Err(Untold::Stopped);
            }
            let Some(commit) = self.commit(id).filter(|_| !self.is_theirs(id)) else {
                edge.insert(id);
                if edge.len() > PUSH_EDGES {
                    return Err(Untold::Edges);
                }
                continue;
            };
            let commit = commit?;
            if commit.parents.len() > PUSH_PARENTS {
                return Err(Untold::Parents);
            }
            next.extend(commit.parents.iter().copied().filter(|id| seen.insert(*id)));
            brought.push(commit);
            if brought.len() > PUSH_COMMITS {
                return Err(Untold::Commits);
            }
        }
        Ok((brought, edge))
    }

    /// Checks the bounds that hold for every push, whatever rules there are. Returns on how many commits rests
    /// that are not in it.
    ///
    /// # Errors
    /// When it brings too many commits, or one with too many parents.
    pub fn check_bounds(&self) -> Result<usize, Untold> {
        let (mut count, mut edge) = (0_usize, HashSet::new());
        for (_, bytes) in self.commits() {
            count = count.saturating_add(1);
            if count > PUSH_COMMITS {
                return Err(Untold::Commits);
            }
            if !self.pace.proceed() {
                return Err(Untold::Stopped);
            }
            // Why nothing of one that can't be read: who needs it refuses it by name.
            let parents = parents(bytes).unwrap_or_default();
            if parents.len() > PUSH_PARENTS {
                return Err(Untold::Parents);
            }
            edge.extend(parents.into_iter().filter(|id| !self.has(*id)));
        }
        Ok(edge.len())
    }

    /// The files that a commit changes by a measure, with their contents' names before and after.
    ///
    /// # Errors
    /// When it can't be known.
    pub fn changes(&self, commit: &Commit, measure: &Measure) -> Result<Changes, Untold> {
        let mut missing = Missing::default();
        let mut differs = |from: Option<ObjectId>| -> Result<Changes, Untold> {
            let mut found = Changes::new();
            let before = match from.map(|id| (id, self.commit(id))) {
                None => None,
                Some((_, Some(commit))) => Some(commit?.tree),
                Some((id, None)) => {
                    missing.commits.insert(id);
                    return Ok(found);
                }
            };
            self.differ(before, Some(commit.tree), "", 0, &mut found, &mut missing)?;
            Ok(found)
        };
        let mut sides = Vec::new();
        for side in &measure.sides {
            sides.push(differs(Some(*side))?);
        }
        if sides.is_empty() {
            sides.push(differs(None)?);
        }
        let mut bases = Vec::new();
        for base in &measure.bases {
            bases.push(differs(Some(*base))?);
        }
        if missing != Missing::default() {
            return Err(Untold::Missing(missing));
        }
        let is_own = |path: &String| {
            measure.any
                || sides.iter().all(|side| side.contains_key(path))
                || bases.iter().any(|base| !base.contains_key(path))
        };
        let mut own = Changes::new();
        for (path, changed) in sides.iter().flatten().filter(|(path, _)| is_own(path)) {
            own.entry(path.clone()).or_insert(*changed);
        }
        Ok(own)
    }

    /// Adds the files in which two folders differ.
    fn differ(
        &self,
        before: Option<ObjectId>,
        after: Option<ObjectId>,
        path: &str,
        depth: usize,
        found: &mut Changes,
        missing: &mut Missing,
    ) -> Result<(), Untold> {
        if before == after {
            return Ok(());
        }
        if depth > TREE_DEPTH || found.len() > PUSH_FILES {
            return Err(Untold::TooMuch);
        }
        if !self.pace.proceed() {
            return Err(Untold::Stopped);
        }
        let (Some(old), Some(new)) =
            (self.entries(before, missing)?, self.entries(after, missing)?)
        else {
            return Ok(());
        };
        for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let (was, is) = (old.get(name), new.get(name));
            if was == is {
                continue;
            }
            if is.is_some() {
                harmless(name, path)?;
            }
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let folder =
                |entry: Option<&Entry>| entry.filter(|entry| entry.folder).map(|entry| entry.id);
            let file = |entry: Option<&Entry>| entry.filter(|entry| !entry.folder).cloned();
            let (was_file, is_file) = (file(was), file(is));
            if was_file != is_file {
                let (was, is) = (was_file.map(|entry| entry.id), is_file.map(|entry| entry.id));
                found.insert(path.clone(), Changed { was, is });
            }
            self.differ(folder(was), folder(is), &path, depth.saturating_add(1), found, missing)?;
        }
        Ok(())
    }

    /// Counts what is read of folders. Why: two large ones in turns, over thousands of commits, cost hours.
    fn reads(&self, bytes: usize) -> Result<(), Untold> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.read.fetch_add(bytes, Ordering::Relaxed);
        if before > FOLDERS_READ { Err(Untold::TooMuch) } else { Ok(()) }
    }

    /// What is in a folder; nothing, if it is not here.
    fn entries(
        &self,
        id: Option<ObjectId>,
        missing: &mut Missing,
    ) -> Result<Option<BTreeMap<String, Entry>>, Untold> {
        let Some(id) = id else { return Ok(Some(BTreeMap::new())) };
        match self.get(id) {
            Some((Kind::Tree, bytes)) => {
                self.reads(bytes.len())?;
                entries(bytes).map(Some).ok_or(Untold::Odd("a folder"))
            }
            Some((Kind::Commit | Kind::Blob | Kind::Tag, _)) => {
                Err(Untold::Odd("another object for a folder"))
            }
            // Every repository may hold it without having it.
            None if id == EMPTY_TREE => Ok(Some(BTreeMap::new())),
            None => {
                missing.trees.insert(id);
                Ok(None)
            }
        }
    }
}

/// The name of the folder with nothing in it.
const EMPTY_TREE: ObjectId = ObjectId([
    0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60, 0xe5, 0x4b, 0xf8, 0xd6, 0x92, 0x88,
    0xfb, 0xee, 0x49, 0x04,
]);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    folder: bool,
    /// Mode and all: a file that becomes executable, or a link, is another.
    mode: Box<[u8]>,
    id: ObjectId,
}

fn entries(mut bytes: &[u8]) -> Option<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let (mode, rest) = bytes.split_at(space);
        let rest = rest.get(1..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (name, rest) = rest.split_at(end);
        let (id, rest) = rest.get(1..)?.split_first_chunk::<20>()?;
        // Why not otherwise: a name that is no text can't be compared with what rules say.
        let name =
            str::from_utf8(name).ok().filter(|name| !name.is_empty() && !name.contains('/'))?;
        // Why no others: git reads any octal number, and takes `40755` for a folder as well.
        let folder = match mode {
            b"40000" => true,
            b"100644" | b"100664" | b"100755" | b"120000" | b"160000" => false,
            _ => return None,
        };
        let entry = Entry { folder, mode: mode.into(), id: ObjectId(*id) };
        // Why: of two of one name, a rule sees one and a checkout the other.
        if found.insert(name.to_owned(), entry).is_some() {
            return None;
        }
        bytes = rest;
    }
    Some(found)
}

/// Refuses names that some file system takes for `.git` or for any other, or that lead out of the folder.
fn harmless(name: &str, path: &str) -> Result<(), Untold> {
    let plain = folded(name);
    let dots = matches!(plain.as_str(), "" | "." | ".." | ".git");
    if dots || name.contains('\\') || is_short(&plain) {
        let whole = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        return Err(Untold::Path(jeton_domain::id::quote(&whole)));
    }
    Ok(())
}

/// Reads a commit. Its head must be what git itself writes: `tree`, `parent`s, `author`, `committer`, in this order
/// and with nothing between, because git reads them there and nowhere else.
fn commit(id: ObjectId, bytes: &[u8]) -> Option<Commit> {
    let end = bytes.windows(2).position(|two| two == b"\n\n").unwrap_or(bytes.len());
    let (head, words) = bytes.split_at(end);
    let mut lines = head.split(|byte| *byte == b'\n').peekable();
    let tree = lines.next()?.strip_prefix(b"tree ").and_then(ObjectId::parse)?;
    let mut parents = Vec::new();
    while let Some(id) = lines.next_if(|line| line.starts_with(b"parent ")) {
        parents.push(ObjectId::parse(id.strip_prefix(b"parent ")?)?);
    }
    let author = lines.next()?.strip_prefix(b"author ").and_then(address)?;
    let committer = lines.next()?.strip_prefix(b"committer ").and_then(address)?;
    let signed = |line: &[u8]| {
        let who = line.strip_prefix(b"Signed-off-by: ").and_then(only_address);
        who.is_some_and(|who| who == author || who == committer)
    };
    let signed_off = words.split(|byte| *byte == b'\n').any(signed);
    Some(Commit { id, tree, parents, author, signed_off })
}

/// The parents of a commit, read where git reads them: behind the line `tree`.
fn parents(bytes: &[u8]) -> Option<Vec<ObjectId>> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    lines.next()?.strip_prefix(b"tree ").and_then(ObjectId::parse)?;
    let parents = lines.map_while(|line| line.strip_prefix(b"parent "));
    parents.map(ObjectId::parse).collect()
}

/// The address of `NAME <ADDRESS> SECONDS ZONE`.
fn address(who: &[u8]) -> Option<String> {
    let close = who.iter().position(|byte| *byte == b'>')?;
    let (who, rest) = who.split_at(close.saturating_add(1));
    let mut words = rest.strip_prefix(b" ")?.split(|byte| *byte == b' ');
    let (seconds, zone) = (words.next()?, words.next()?);
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let zone = zone.strip_prefix(b"+").or_else(|| zone.strip_prefix(b"-"))?;
    let whole = digits(seconds) && zone.len() == 4 && digits(zone) && words.next().is_none();
    only_address(who).filter(|_| whole)
}

/// What stands between the one `<` and the one `>`, at the end. Why one: of two addresses git shows the first,
/// and others the last.
fn only_address(who: &[u8]) -> Option<String> {
    let rest = who.strip_suffix(b">")?;
    let open = rest.iter().position(|byte| *byte == b'<')?;
    let (name, address) = (rest.get(..open)?, rest.get(open.saturating_add(1)..)?);
    let odd = |byte: &u8| matches!(byte, b'<' | b'>' | 0);
    if name.iter().any(odd) || address.iter().any(odd) {
        return None;
    }
    Some(String::from_utf8_lossy(address).into_owned())
}

#[cfg(test)]
mod tests;
