//! Reads a pack as it comes: every object is inflated and measured, and commits, trees and tags are kept.
//!
//! Contents of files are not kept, so that memory does not grow with the push. What could not be checked,
//! such as a delta against an object that is not in the pack, is left out; whoever needs it then finds it
//! missing and refuses.
//!
//! Spec: `gitformat-pack`.

mod delta;

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::Entry},
    io::Write,
    sync::atomic::AtomicU64,
};

use flate2::{Decompress, FlushDecompress, Status};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::{
    limits::{PACK_INFLATED_BYTES, PACK_KEPT_BYTES, PACK_OBJECTS, PUSH_SECONDS},
    name::ObjectId,
    pace::Pace,
};

/// How often larger than what came contents may be, beside the slack.
const INFLATES: u64 = 200;
/// What a pack of any size may inflate to.
const INFLATES_SLACK: u64 = 512 * 1024 * 1024;
/// What keeping one object costs beside its content.
const OBJECT_COST: usize = 256;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A commit.
    Commit,
    /// A folder.
    Tree,
    /// A file's content.
    Blob,
    /// A signed or described tag.
    Tag,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

/// Why a pack is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// It is none.
    #[error("the pack can't be read: {0}")]
    Odd(&'static str),
    /// A file is too large.
    #[error("a file of {0} bytes is larger than the {1} that are allowed")]
    FileTooLarge(u64, u64),
    /// There is more in it than is looked at.
    #[error("the pack holds more {0} than can be looked at in one push; push in parts")]
    TooMuch(&'static str),
    /// The time for it is over.
    #[error("the push takes more than {PUSH_SECONDS} s of the broker's time; push in parts")]
    Stopped,
}

/// What was in a pack.
#[derive(Default)]
pub struct Objects {
    /// Commits, trees and tags.
    kept: HashMap<ObjectId, (Kind, Vec<u8>)>,
    /// Sizes of files' contents, if they were wanted.
    blobs: HashMap<ObjectId, u64>,
    /// The largest file of those whose names are not known.
    unnamed: Option<u64>,
    /// Those of the kept that the upstream has on a branch: what a push rests on, not what it brings.
    theirs: HashSet<ObjectId>,
    /// Bytes of folders that were read for decisions.
    pub read: AtomicU64,
    /// How many objects there were.
    pub count: u64,
    /// Bytes that keeping them costs.
    pub kept_bytes: usize,
    /// Asked while they are read.
    pub pace: Pace,
}

/// The size of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// It is this.
    Is(u64),
    /// It is not known, but no larger than this.
    AtMost(u64),
}

impl Objects {
    /// A commit, tree or tag.
    #[must_use]
    pub fn get(&self, id: ObjectId) -> Option<(Kind, &[u8])> {
        self.kept.get(&id).map(|(kind, bytes)| (*kind, bytes.as_slice()))
    }

    /// The size of a file's content; `None` if it was not in the pack.
    #[must_use]
    pub fn size(&self, id: ObjectId) -> Option<Size> {
        self.blobs.get(&id).copied().map(Size::Is).or(self.unnamed.map(Size::AtMost))
    }

    /// Whether a commit, tree or tag is here.
    pub(crate) fn has(&self, id: ObjectId) -> bool {
        self.kept.contains_key(&id)
    }

    /// Every commit, with its content.
    pub(crate) fn commits(&self) -> impl Iterator<Item = (ObjectId, &[u8])> {
        let commits = self.kept.iter().filter(|(_, (kind, _))| *kind == Kind::Commit);
        commits.map(|(id, (_, bytes))| (*id, bytes.as_slice()))
    }

    /// Takes over what another pack brings.
    pub fn add(&mut self, other: Self) {
        for (id, object) in other.kept {
            self.theirs.remove(&id);
            self.kept.insert(id, object);
        }
    }

    /// Takes over what the upstream has: folders, and of commits just these. Why: whatever else came along may
    /// be somebody's of whom nothing is known.
    pub fn add_theirs(&mut self, other: Self, commits: &BTreeSet<ObjectId>) {
        for (id, object) in other.kept {
            let meant = object.0 == Kind::Tree || commits.contains(&id);
            if let Entry::Vacant(place) = self.kept.entry(id)
                && meant
            {
                place.insert(object);
                self.theirs.insert(id);
            }
        }
    }

    /// Whether this is here because the upstream has it.
    #[must_use]
    pub fn is_theirs(&self, id: ObjectId) -> bool {
        self.theirs.contains(&id)
    }
}

/// What a delta rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Base {
    Id(ObjectId),
    At(u64),
}

/// What the next bytes are.
enum Part {
    Header,
    Entry,
    Body(Box<Body>),
    Trailer,
    End,
}

/// An object that is being inflated.
struct Body {
    at: u64,
    what: What,
    left: u64,
    size: u64,
    kept: Vec<u8>,
    name: Option<Context>,
}

#[derive(Clone, Copy)]
enum What {
    Whole(Kind),
    Delta(Base),
}

/// Reads a pack in pieces.
pub struct Scanner {
    part: Part,
    /// Bytes of a head that has not come whole.
    head: Vec<u8>,
    inflate: Decompress,
    scratch: Box<[u8]>,
    /// Bytes taken so far.
    at: u64,
    left: u32,
    inflated: u64,
    kept_bytes: usize,
    digest: Context,
    largest_file: u64,
    names_blobs: bool,
    pace: Pace,
    objects: Objects,
    /// Where objects that were kept begin, and that of files' contents, which were not.
    places: HashMap<u64, Option<ObjectId>>,
    /// Deltas whose base has not come, by it.
    waiting: HashMap<Base, Vec<(u64, Vec<u8>)>>,
}

impl Scanner {
    /// Begins. With `names_blobs` the sizes of files are known by their content's name.
    #[must_use]
    pub fn new(largest_file: u64, names_blobs: bool) -> Self {
        Self {
            part: Part::Header,
            head: Vec::new(),
            inflate: Decompress::new(true),
            scratch: vec![0; 32 * 1024].into(),
            at: 0,
            left: 0,
            inflated: 0,
            kept_bytes: 0,
            digest: Context::new(&SHA1_FOR_LEGACY_USE_ONLY),
            largest_file,
            names_blobs,
            pace: Pace::default(),
            objects: Objects::default(),
            places: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    /// Asks this pace at least once for each object and for each 32 KiB that it inflates to.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When they can't be those of a pack that is taken.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), PackError> {
        while !bytes.is_empty() {
            bytes = match &self.part {
                Part::Header => self.header(bytes)?,
                Part::Entry => self.entry(bytes)?,
                Part::Body(_) if !self.pace.proceed() => return Err(PackError::Stopped),
                Part::Body(_) => self.body(bytes)?,
                Part::Trailer => self.trailer(bytes)?,
                Part::End => return Err(PackError::Odd("bytes stand behind its end")),
            };
        }
        Ok(())
    }

    /// How many of its first bytes were read and lie before its checksum. Without that nobody takes it for whole,
    /// whatever stands behind.
    #[must_use]
    pub fn before_checksum(&self) -> u64 {
        self.at
    }

    /// What was in it.
    ///
    /// # Errors
    /// When it has not come whole.
    pub fn finish(mut self) -> Result<Objects, PackError> {
        if !matches!(self.part, Part::End) {
            return Err(PackError::Odd("it breaks off"));
        }
        // What waits still rests on files' contents, or on objects that are not here.
        let left = self.waiting.values().flatten();
        let sizes = left.filter_map(|(_, delta)| delta::sizes(delta).map(|(_, result)| result));
        for size in sizes {
            self.objects.unnamed = self.objects.unnamed.max(Some(size));
        }
        self.objects.kept_bytes = self.kept_bytes;
        Ok(self.objects)
    }

    /// Gathers a head up to a length. Gives what is behind, once it is whole.
    fn gather<'a>(&mut self, bytes: &'a [u8], length: usize) -> &'a [u8] {
        let missing = length.saturating_sub(self.head.len()).min(bytes.len());
        let (taken, rest) = bytes.split_at(missing);
        self.head.extend_from_slice(taken);
        rest
    }

    /// Counts bytes of the pack that its trailer names.
    fn count(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.at = self.at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }

    fn header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], PackError> {
        let rest = self.gather(bytes, 12);
        let Some(head) = self.head.first_chunk::<12>().copied() else { return Ok(rest) };
        let [p, a, c, k, v1, v2, v3, v4, count @ ..] = head;
        if [p, a, c, k] != *b"PACK" {
            return Err(PackError::Odd("it does not begin as one"));
        }
        if !matches!(u32::from_be_bytes([v1, v2, v3, v4]), 2 | 3) {
            return Err(PackError::Odd("it is of an unknown version"));
        }
        self.left = u32::from_be_bytes(count);
        self.objects.count = self.left.into();
        if self.left > PACK_OBJECTS {
            return Err(PackError::TooMuch("objects"));
        }
        self.head.clear();
        self.count(&head);
        self.part = if self.left == 0 { Part::Trailer } else { Part::Entry };
        Ok(rest)
    }

    fn entry<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], PackError> {
        // Why byte by byte: its length stands in it.
        let rest = self.gather(bytes, self.head.len().saturating_add(1));
        let Some((what, size)) = entry_head(&self.head, self.at)? else { return Ok(rest) };
        let at = self.at;
        let head = std::mem::take(&mut self.head);
        self.count(&head);
        if let What::Whole(Kind::Blob) = what
            && size > self.largest_file
        {
            return Err(PackError::FileTooLarge(size, self.largest_file));
        }
        self.inflated = self.inflated.saturating_add(size);
        // Why by what came too: a small pack may say that it inflates to anything.
        let allowed = self.at.saturating_mul(INFLATES).saturating_add(INFLATES_SLACK);
        if self.inflated > PACK_INFLATED_BYTES.min(allowed) {
            return Err(PackError::TooMuch("bytes"));
        }
        let name = match what {
            What::Whole(kind) if kind != Kind::Blob || self.names_blobs => {
                let mut name = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                name.update(format!("{} {size}\0", kind.word()).as_bytes());
                Some(name)
            }
            What::Whole(_) | What::Delta(_) => None,
        };
        if what_is_kept(what) {
            self.kept_bytes = self.kept_bytes.saturating_add(OBJECT_COST);
        }
        self.inflate.reset(true);
        self.part =
            Part::Body(Box::new(Body { at, what, left: size, size, kept: Vec::new(), name }));
        Ok(rest)
    }

    fn body<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], PackError> {
        let Part::Body(mut body) = std::mem::replace(&mut self.part, Part::Entry) else {
            return Ok(bytes);
        };
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(bytes, &mut self.scratch, FlushDecompress::None)
            .map_err(|_| PackError::Odd("an object can't be inflated"))?;
        let read = usize::try_from(self.inflate.total_in().saturating_sub(before_in));
        let made = self.inflate.total_out().saturating_sub(before_out);
        let read = read.unwrap_or(usize::MAX).min(bytes.len());
        let (taken, rest) = bytes.split_at(read);
        self.count(taken);
        body.left = body
            .left
            .checked_sub(made)
            .ok_or(PackError::Odd("an object is longer than it says"))?;
        let made = usize::try_from(made).unwrap_or(usize::MAX).min(self.scratch.len());
        let made = self.scratch.get(..made).unwrap_or_default();
        if let Some(name) = &mut body.name {
            name.update(made);
        }
        if self.keeps(body.what) {
            self.kept_bytes = self.kept_bytes.saturating_add(made.len());
            if self.kept_bytes > PACK_KEPT_BYTES {
                return Err(PackError::TooMuch("history"));
            }
            // Why: writing to a vector does not fail.
            let _ = body.kept.write_all(made);
        } else if body.kept.len() < delta::HEAD_BYTES {
            let room = delta::HEAD_BYTES.saturating_sub(body.kept.len()).min(made.len());
            body.kept.extend_from_slice(made.get(..room).unwrap_or_default());
        }
        match status {
            Status::StreamEnd if body.left > 0 => {
                return Err(PackError::Odd("an object is shorter than it says"));
            }
            Status::StreamEnd => {
                self.done(*body)?;
                self.left = self.left.saturating_sub(1);
                self.part = if self.left == 0 { Part::Trailer } else { Part::Entry };
            }
            // No progress on input that is there can only be a stream that never ends.
            Status::BufError | Status::Ok if taken.is_empty() && made.is_empty() => {
                return Err(PackError::Odd("an object can't be inflated"));
            }
            Status::BufError | Status::Ok => self.part = Part::Body(body),
        }
        Ok(rest)
    }

    /// Whether all of it is needed: of files' contents, and of deltas against them, only the size is.
    fn keeps(&self, what: What) -> bool {
        match what {
            What::Whole(kind) => kind != Kind::Blob,
            What::Delta(Base::At(at)) => self.places.get(&at) != Some(&None),
            What::Delta(Base::Id(id)) => !self.objects.blobs.contains_key(&id),
        }
    }

    /// An object has come whole.
    fn done(&mut self, body: Body) -> Result<(), PackError> {
        match body.what {
            What::Whole(kind) => {
                let id = body.name.map(|name| id_of(name.finish().as_ref()));
                match (kind, id) {
                    (Kind::Blob, id) => {
                        self.places.insert(body.at, None);
                        match id {
                            Some(id) => drop(self.objects.blobs.insert(id, body.size)),
                            None => self.unnamed(body.size),
                        }
                        Ok(())
                    }
                    (kind, Some(id)) => self.known(body.at, id, kind, body.kept),
                    (_, None) => Ok(()),
                }
            }
            What::Delta(base) => {
                let Some((_, size)) = delta::sizes(&body.kept) else {
                    return Err(PackError::Odd("a delta"));
                };
                if size > self.largest_file {
                    return Err(PackError::FileTooLarge(size, self.largest_file));
                }
                if !self.keeps(body.what) {
                    self.places.insert(body.at, None);
                    self.unnamed(size);
                    return Ok(());
                }
                let found = match base {
                    Base::Id(id) => Some(id),
                    Base::At(at) => self.places.get(&at).copied().flatten(),
                };
                let found = found.filter(|id| self.objects.kept.contains_key(id));
                match found {
                    Some(id) => self.resolve(id, body.at, &body.kept),
                    None => {
                        self.waiting.entry(base).or_default().push((body.at, body.kept));
                        Ok(())
                    }
                }
            }
        }
    }

    fn unnamed(&mut self, size: u64) {
        self.objects.unnamed = self.objects.unnamed.max(Some(size));
    }

    fn resolve(&mut self, base: ObjectId, at: u64, delta: &[u8]) -> Result<(), PackError> {
        let Some((kind, bytes)) = self.objects.kept.get(&base) else { return Ok(()) };
        let room = PACK_KEPT_BYTES.saturating_sub(self.kept_bytes);
        let made = delta::apply(bytes, delta, room)?;
        let kind = *kind;
        self.kept_bytes = self.kept_bytes.saturating_add(made.len());
        self.known(at, named(kind, &made), kind, made)
    }

    /// An object is known; so is what waited for it, and what waited for that.
    fn known(
        &mut self,
        at: u64,
        id: ObjectId,
        kind: Kind,
        bytes: Vec<u8>,
    ) -> Result<(), PackError> {
        self.places.insert(at, Some(id));
        self.objects.kept.insert(id, (kind, bytes));
        // Why a loop over a list and no call: a chain of deltas may be as long as the pack.
        let mut next = vec![(at, id)];
        while let Some((at, id)) = next.pop() {
            for base in [Base::At(at), Base::Id(id)] {
                for (at, delta) in self.waiting.remove(&base).unwrap_or_default() {
                    if !self.pace.proceed() {
                        return Err(PackError::Stopped);
                    }
                    let Some((kind, bytes)) = self.objects.kept.get(&id) else { continue };
                    let room = PACK_KEPT_BYTES.saturating_sub(self.kept_bytes);
                    let (kind, made) = (*kind, delta::apply(bytes, &delta, room)?);
                    let named = named(kind, &made);
                    self.kept_bytes = self.kept_bytes.saturating_add(made.len());
                    self.places.insert(at, Some(named));
                    self.objects.kept.insert(named, (kind, made));
                    next.push((at, named));
                }
            }
        }
        Ok(())
    }

    fn trailer<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], PackError> {
        let rest = self.gather(bytes, 20);
        if self.head.len() == 20 {
            if self.digest.clone().finish().as_ref() != self.head.as_slice() {
                return Err(PackError::Odd("its checksum is another"));
            }
            self.part = Part::End;
        }
        Ok(rest)
    }
}

/// Whether an object, or what is known of it, stays in memory until the end.
fn what_is_kept(what: What) -> bool {
    match what {
        What::Whole(kind) => kind != Kind::Blob,
        What::Delta(_) => true,
    }
}

/// The name of an object.
fn named(kind: Kind, bytes: &[u8]) -> ObjectId {
    let head = format!("{} {}\0", kind.word(), bytes.len());
    id_of(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[head.as_bytes(), bytes].concat()).as_ref())
}

fn id_of(digest: &[u8]) -> ObjectId {
    digest.first_chunk().map_or(ObjectId::NONE, |id| ObjectId(*id))
}

/// Reads what stands before an object: what it is and its size. Nothing while more is needed.
fn entry_head(head: &[u8], at: u64) -> Result<Option<(What, u64)>, PackError> {
    let odd = PackError::Odd("the head of an object");
    let mut bytes = head.iter().copied();
    let Some(first) = bytes.next() else { return Ok(None) };
    let (mut size, mut shift, mut more) = (u64::from(first & 15), 4_u32, first & 128 != 0);
    while more {
        let Some(byte) = bytes.next() else { return Ok(None) };
        if shift > 56 {
            return Err(odd);
        }
        size |= u64::from(byte & 127) << shift;
        shift = shift.saturating_add(7);
        more = byte & 128 != 0;
    }
    let whole = |kind| Ok(Some((What::Whole(kind), size)));
    match first >> 4 & 7 {
        1 => whole(Kind::Commit),
        2 => whole(Kind::Tree),
        3 => whole(Kind::Blob),
        4 => whole(Kind::Tag),
        6 => {
            let Some(byte) = bytes.next() else { return Ok(None) };
            let (mut back, mut more) = (u64::from(byte & 127), byte & 128 != 0);
            while more {
                let Some(byte) = bytes.next() else { return Ok(None) };
                if back >= 1 << 48 {
                    return Err(odd);
                }
                back = back.saturating_add(1) << 7 | u64::from(byte & 127);
                more = byte & 128 != 0;
            }
            let base = at.checked_sub(back).filter(|_| back > 0).ok_or(odd)?;
            Ok(Some((What::Delta(Base::At(base)), size)))
        }
        7 => {
            let id: Vec<u8> = bytes.collect();
            let id = id.first_chunk().map(|id| ObjectId(*id));
            Ok(id.map(|id| (What::Delta(Base::Id(id)), size)))
        }
        _ => Err(odd),
    }
}

#[cfg(test)]
mod tests;
