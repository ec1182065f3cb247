//! What one caller may hold at once of something that all share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use jeton_domain::principal::PrincipalId;

/// How much each caller holds.
#[derive(Clone)]
pub(super) struct Shares {
    most: usize,
    held: Arc<Mutex<HashMap<PrincipalId, usize>>>,
}

/// One piece, given back when dropped.
pub(super) struct Share {
    caller: PrincipalId,
    of: Shares,
}

impl Shares {
    /// Each caller may hold this many.
    pub fn new(most: usize) -> Self {
        Self { most, held: Arc::default() }
    }

    /// A piece for a caller, unless it holds its most.
    pub fn take(&self, caller: &PrincipalId) -> Option<Share> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(caller.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Share { caller: caller.clone(), of: self.clone() })
    }

    #[cfg(test)]
    pub fn callers(&self) -> usize {
        self.held.lock().unwrap().len()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.caller) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.remove(&self.caller);
            }
        }
    }
}
