//! What is allowed: Cedar policies with a schema and a catalogue, and the set that holds now.
//!
//! Knows the domain only. A set is loaded whole or not at all, and never changes; a new one takes
//! its place at once, and a decision that is under way ends with the set that it began with.

pub mod author;
pub mod catalogue;
mod catalogue_file;
mod context;
mod folder;
mod guard;
mod index;
mod judge;
pub mod kept;
pub mod limits;
mod literals;
pub mod load;
mod memo;
mod names;
mod policy_file;
mod prepare;
pub mod problem;
#[cfg(feature = "prove")]
pub mod prove;
mod shape;
pub mod vocabulary;

#[cfg(test)]
mod slice_tests;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use jeton_domain::decision::Rules;

use arc_swap::ArcSwap;

pub use folder::{Stamp, stamp};
pub use judge::Opener;
pub use kept::{Kept, Pin};
pub use load::PolicySet;
pub use problem::PolicyProblem;
pub use vocabulary::Vocabulary;

/// The set that holds now, and where others come from.
pub struct Policies {
    current: ArcSwap<PolicySet>,
    vocabulary: Vocabulary,
    folder: PathBuf,
    kept: Kept,
}

impl Policies {
    /// Loads the first set; a broker without one does not start.
    ///
    /// # Errors
    /// With every problem of the folder.
    pub fn load(
        folder: PathBuf,
        kept: Kept,
        vocabulary: Vocabulary,
    ) -> Result<Self, Vec<PolicyProblem>> {
        let set = match (wanted(&folder, &kept, &vocabulary), kept.pinned()) {
            // Why not refused: it was gone back to because of just such a folder.
            (Err(problems), Ok(Some(pin))) => {
                for problem in &problems {
                    tracing::error!(%problem, "the policy folder is no good; the set that was gone back to holds");
                }
                kept.load(&pin.to, &vocabulary)?
            }
            (read, _) => read?,
        };
        Ok(Self { current: ArcSwap::from_pointee(set), vocabulary, folder, kept })
    }

    /// The set that holds now.
    #[must_use]
    pub fn current(&self) -> Arc<PolicySet> {
        self.current.load_full()
    }

    /// The folder where the team edits them.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sets that were in force.
    #[must_use]
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Reads the set that is to be in force, and changes nothing yet. Takes its time: not for async
    /// threads.
    ///
    /// # Errors
    /// With every problem of the folder.
    pub fn read(&self) -> Result<PolicySet, Vec<PolicyProblem>> {
        wanted(&self.folder, &self.kept, &self.vocabulary)
    }

    /// Reads a set that was in force, to go back to it in place of the folder's. Nothing is in force yet.
    ///
    /// # Errors
    /// When it is not kept, or is no good any more.
    pub fn back(&self, hash: &str) -> Result<(PolicySet, Pin), Vec<PolicyProblem>> {
        let set = self.kept.load(hash, &self.vocabulary)?;
        let folder = PolicySet::load(&self.folder, &self.vocabulary);
        // Of a folder that is no good the set before is in force, and is what is gone back from.
        let instead_of = folder.map_or_else(|_| self.current(), Arc::new);
        let instead_of = instead_of.hash().to_owned();
        Ok((set, Pin { to: hash.to_owned(), instead_of }))
    }

    /// Puts a set in force.
    pub fn put(&self, set: PolicySet) {
        self.current.store(Arc::new(set));
    }
}

/// The folder's set, or the one that somebody went back to in its place.
fn wanted(
    folder: &Path,
    kept: &Kept,
    vocabulary: &Vocabulary,
) -> Result<PolicySet, Vec<PolicyProblem>> {
    let wrong = |words: String| vec![PolicyProblem::of_file("", words, "")];
    let pinned = kept.pinned();
    let pinned = pinned.map_err(|error| wrong(format!("the pinned set can't be read: {error}")))?;
    let set = PolicySet::load(folder, vocabulary)?;
    let set = match pinned {
        Some(pin) if pin.instead_of == set.hash() => kept.load(&pin.to, vocabulary)?,
        Some(_) => {
            // Why for good: the same folder may come back one day, and then it is meant.
            kept.pin(None)
                .map_err(|error| wrong(format!("the pin can't be taken out: {error}")))?;
            set
        }
        None => set,
    };
    if let Err(error) = kept.keep(&set) {
        tracing::warn!(%error, "the policy set can't be kept; it can't be gone back to");
    }
    Ok(set)
}
