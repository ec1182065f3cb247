//! Sets that were in force, kept by their hash: to be looked at, compared, and gone back to.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    time::SystemTime,
};

use jeton_domain::decision::Rules;
use jeton_files::{Access, sync};

use crate::{
    PolicySet, Vocabulary,
    limits::KEPT,
    problem::{PolicyProblem, Source},
};

/// The file that says which set holds in place of the folder's.
const PIN: &str = "pin";

/// Where they are kept.
pub struct Kept(PathBuf);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSet {
    /// Its hash.
    pub hash: String,
    /// When it came into force first.
    pub since: SystemTime,
}

/// A set that somebody went back to, and the folder's set that it stands for. It holds until the folder
/// holds another set than that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The hash of the set that holds.
    pub to: String,
    /// The hash of the folder's.
    pub instead_of: String,
}

impl Kept {
    /// Keeps them in a folder, which is made when it is needed.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Keeps a set. The oldest go, beyond so many.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep(&self, set: &PolicySet) -> io::Result<()> {
        let home = self.0.join(set.hash());
        if home.exists() {
            return Ok(());
        }
        jeton_files::private_folder(&self.0)?;
        let draft = self.0.join(format!(".{}.new", set.hash()));
        if fs::symlink_metadata(&draft).is_ok() {
            fs::remove_dir_all(&draft)?;
        }
        fs::DirBuilder::new().mode(0o700).create(&draft)?;
        // Why on disk before it is in force: after a crash the same set must hold.
        for Source { name, text } in set.sources() {
            jeton_files::create(&draft.join(name), text.as_bytes(), Access::Owner)?;
        }
        sync(&draft)?;
        // Why by rename: a set is there whole, or not at all.
        fs::rename(&draft, &home)?;
        sync(&self.0)?;
        let pinned = self.pinned()?.map(|pin| pin.to);
        for old in self.list()?.into_iter().skip(KEPT) {
            if Some(&old.hash) != pinned.as_ref() {
                fs::remove_dir_all(self.0.join(&old.hash))?;
            }
        }
        Ok(())
    }

    /// Those that are kept, newest first.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn list(&self) -> io::Result<Vec<KeptSet>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(hash) = name.to_str().filter(|name| is_hash(name)) {
                let since = entry.metadata()?.modified()?;
                found.push(KeptSet { hash: hash.to_owned(), since });
            }
        }
        found.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.hash.cmp(&b.hash)));
        Ok(found)
    }

    /// The files of one. `None` if it is not kept.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn sources(&self, hash: &str) -> io::Result<Option<Vec<Source>>> {
        let home = self.0.join(hash);
        if !is_hash(hash) || !home.is_dir() {
            return Ok(None);
        }
        let mut sources = Vec::new();
        for entry in fs::read_dir(home)? {
            let entry = entry?;
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
            sources.push(Source { name, text: fs::read_to_string(entry.path())? });
        }
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(sources))
    }

    /// Loads one.
    ///
    /// # Errors
    /// When it is not kept, is no longer what it was, or is no good for today's upstreams.
    pub fn load(
        &self,
        hash: &str,
        vocabulary: &Vocabulary,
    ) -> Result<PolicySet, Vec<PolicyProblem>> {
        let wrong = |words: String| vec![PolicyProblem::of_file("", words, "")];
        let sources = self
            .sources(hash)
            .map_err(|error| wrong(format!("the kept set can't be read: {error}")))?
            .ok_or_else(|| wrong(format!("no set `{}` is kept", hash.escape_debug())))?;
        let texts: Vec<_> =
            sources.iter().map(|one| (one.name.as_str(), one.text.as_str())).collect();
        let set = PolicySet::from_sources(&texts, vocabulary)?;
        if set.hash() == hash {
            return Ok(set);
        }
        Err(wrong(format!("what is kept as {hash} is {} by now: somebody edited it", set.hash())))
    }

    /// The set that somebody went back to.
    ///
    /// # Errors
    /// When that can't be read.
    pub fn pinned(&self) -> io::Result<Option<Pin>> {
        let text = match fs::read_to_string(self.0.join(PIN)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let odd = || io::Error::from(ErrorKind::InvalidData);
        let (to, instead_of) = text.trim_end().split_once(' ').ok_or_else(odd)?;
        Ok(Some(Pin { to: to.to_owned(), instead_of: instead_of.to_owned() }))
    }

    /// Goes back to a set, or to the folder's again.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn pin(&self, pin: Option<&Pin>) -> io::Result<()> {
        let path = self.0.join(PIN);
        match pin {
            Some(Pin { to, instead_of }) => {
                let text = format!("{to} {instead_of}\n");
                jeton_files::replace(&path, text.as_bytes(), Access::Owner)
            }
            None if path.exists() => {
                fs::remove_file(path)?;
                sync(&self.0)
            }
            None => Ok(()),
        }
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
