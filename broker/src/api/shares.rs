//! What one caller may hold at once of something that all share.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use jeton_domain::principal::PrincipalId;

/// How much each caller holds.
#[derive(Clone)]
pub(crate) struct Shares<K: Eq + Hash = PrincipalId> {
    most: usize,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

/// One piece, given back when dropped.
pub(crate) struct Share<K: Eq + Hash = PrincipalId> {
    caller: K,
    of: Shares<K>,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// Each caller may hold this many.
    pub fn new(most: usize) -> Self {
        Self { most, held: Arc::default() }
    }

    /// A piece for a caller, unless it holds its most.
    pub fn take(&self, caller: &K) -> Option<Share<K>> {
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

impl<K: Eq + Hash> Drop for Share<K> {
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
