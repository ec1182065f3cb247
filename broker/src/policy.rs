//! What is allowed: Cedar policies with a schema and a catalogue, and the set that holds now.
//!
//! Knows the domain only. A set is loaded whole or not at all, and never changes; a new one takes
//! its place at once, and a decision that is under way ends with the set that it began with.

pub mod catalogue;
mod catalogue_file;
mod folder;
mod guard;
mod index;
mod judge;
pub mod limits;
mod literals;
pub mod load;
mod memo;
mod names;
mod policy_file;
mod prepare;
pub mod problem;
mod shape;
pub mod vocabulary;

#[cfg(test)]
mod slice_tests;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;

pub use judge::Opener;
pub use load::PolicySet;
pub use problem::PolicyProblem;
pub use vocabulary::Vocabulary;

/// The set that holds now.
pub struct Policies {
    current: ArcSwap<PolicySet>,
    vocabulary: Vocabulary,
}

impl Policies {
    /// Loads the first set; a broker without one does not start.
    ///
    /// # Errors
    /// With every problem of the folder.
    pub fn load(folder: &Path, vocabulary: Vocabulary) -> Result<Self, Vec<PolicyProblem>> {
        let set = PolicySet::load(folder, &vocabulary)?;
        Ok(Self { current: ArcSwap::from_pointee(set), vocabulary })
    }

    /// The set that holds now.
    #[must_use]
    pub fn current(&self) -> Arc<PolicySet> {
        self.current.load_full()
    }

    /// Reads the folder anew, and changes nothing yet. Takes its time: not for async threads.
    ///
    /// # Errors
    /// With every problem of the folder.
    pub fn read(&self, folder: &Path) -> Result<PolicySet, Vec<PolicyProblem>> {
        PolicySet::load(folder, &self.vocabulary)
    }

    /// Puts a set in force.
    pub fn put(&self, set: PolicySet) {
        self.current.store(Arc::new(set));
    }
}
