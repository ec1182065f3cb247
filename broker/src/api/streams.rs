//! Streams that callers hold open: how many there may be, of all and of one.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::shares::{Share, Shares};
use crate::operation::Caller;

/// Places for streams of one kind.
#[derive(Clone)]
pub(super) struct Streams {
    places: Arc<Semaphore>,
    shares: Shares,
}

/// A place, given back when dropped.
pub(super) struct StreamPlace {
    _share: Share,
    _permit: OwnedSemaphorePermit,
}

impl Streams {
    /// So many at once, and of those so many of one caller.
    pub fn new(at_once: usize, of_one: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(at_once)), shares: Shares::new(of_one) }
    }

    /// A place for a caller, if there is one.
    pub fn take(&self, caller: &Caller) -> Option<StreamPlace> {
        let share = self.shares.take(&caller.principal.id)?;
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(StreamPlace { _share: share, _permit: permit })
    }
}
