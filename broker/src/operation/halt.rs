//! What speaks against granting, whatever the policies say: a log whose copies do not leave the
//! house, or a store that is older than what was signed. Taking back never asks here.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::Refusal;
use crate::limits::COPY_LAG;

/// Why granting has stopped, if it has.
#[derive(Default)]
pub struct Halt {
    restored: Mutex<Option<u64>>,
    uncopied: Mutex<Option<Instant>>,
}

impl Halt {
    /// Tells whether something may be granted.
    ///
    /// # Errors
    /// With what speaks against it.
    pub(super) fn is_off(&self) -> Result<(), Refusal> {
        if self.restored().is_some() {
            return Err(Refusal::Halted(
                "the store was restored from a backup; an operator must look and run `jeton audit acknowledge-restore`",
            ));
        }
        let since = *self.uncopied.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_some_and(|since| since.elapsed() > COPY_LAG) {
            return Err(Refusal::Halted(
                "the log's checkpoints can't be copied out; the operator's log says why",
            ));
        }
        Ok(())
    }

    /// Tells whether a restored store waits for an operator, and how many entries it once had.
    #[must_use]
    pub fn restored(&self) -> Option<u64> {
        *self.restored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_restored(&self, once: Option<u64>) {
        *self.restored.lock().unwrap_or_else(PoisonError::into_inner) = once;
    }

    /// A checkpoint waits to be copied, or none does.
    pub(super) fn uncopied(&self, waits: bool) {
        let mut since = self.uncopied.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if waits { since.or_else(|| Some(Instant::now())) } else { None };
    }
}
