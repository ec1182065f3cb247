//! Which key signs, which are published, and when one has served: pure rules of keys and time.
//!
//! A new key is published before it signs, so that verifiers that keep the key set for a while know
//! it in time. The key before it stays published until all that it signed has ended.

use std::{iter, sync::Arc};

use jeton_domain::ttl::{Timestamp, Ttl};

use super::key::SigningKey;

/// How keys follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Age of the newest key at which the next one is made.
    pub every: Ttl,
    /// How long a new key is published before it signs: as long as verifiers keep the key set.
    pub overlap: Ttl,
    /// The longest life of a token.
    pub longest_life: Ttl,
}

/// The keys of a ring, oldest first; there is always one.
#[derive(Clone)]
pub struct Keys {
    oldest: Arc<SigningKey>,
    later: Vec<Arc<SigningKey>>,
    rotation: Rotation,
}

impl Keys {
    /// Puts keys in order.
    #[must_use]
    pub fn new(
        oldest: SigningKey,
        others: impl IntoIterator<Item = SigningKey>,
        rotation: Rotation,
    ) -> Self {
        others
            .into_iter()
            .fold(Self { oldest: Arc::new(oldest), later: vec![], rotation }, |keys, key| {
                keys.with(key)
            })
    }

    /// The same keys and one more.
    #[must_use]
    pub fn with(&self, key: SigningKey) -> Self {
        let mut key = Arc::new(key);
        let mut keys = self.clone();
        if key.created() < keys.oldest.created() {
            std::mem::swap(&mut key, &mut keys.oldest);
        }
        keys.later.push(key);
        keys.later.sort_by_key(|key| key.created());
        keys
    }

    /// One key, and none beside it.
    #[must_use]
    pub fn alone(&self, key: SigningKey) -> Self {
        Self { oldest: Arc::new(key), later: vec![], rotation: self.rotation }
    }

    /// The key that signs: the newest whose overlap is over, else the oldest.
    #[must_use]
    pub fn active(&self, now: Timestamp) -> &Arc<SigningKey> {
        self.later.iter().rev().find(|key| self.takes_over(key) <= now).unwrap_or(&self.oldest)
    }

    /// The keys that verifiers should know.
    pub fn published(&self, now: Timestamp) -> impl Iterator<Item = &Arc<SigningKey>> {
        let next = self.later.iter().map(Some).chain(iter::once(None));
        self.all()
            .zip(next)
            .filter(move |(_, next)| !next.is_some_and(|next| self.has_replaced(next, now)))
            .map(|(key, _)| key)
    }

    /// Tells whether the next key should be made.
    #[must_use]
    pub fn rotation_due(&self, now: Timestamp) -> bool {
        let newest = self.later.last().unwrap_or(&self.oldest);
        newest.created().plus(self.rotation.every) <= now
    }

    /// The keys that are still of use, and those that have served.
    #[must_use]
    pub fn without_served(&self, now: Timestamp) -> (Self, Vec<Arc<SigningKey>>) {
        let published = self.published(now).count();
        // Why a prefix: each key is replaced before the next one is, so the served are the oldest.
        let mut all = self.all().cloned();
        let served: Vec<_> =
            all.by_ref().take((self.later.len() + 1).saturating_sub(published)).collect();
        let oldest = all.next().unwrap_or_else(|| Arc::clone(&self.oldest));
        (Self { oldest, later: all.collect(), rotation: self.rotation }, served)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<SigningKey>> {
        iter::once(&self.oldest).chain(&self.later)
    }

    fn takes_over(&self, key: &SigningKey) -> Timestamp {
        key.created().plus(self.rotation.overlap)
    }

    /// Tells whether all that was signed before `next` took over has ended.
    fn has_replaced(&self, next: &SigningKey, now: Timestamp) -> bool {
        self.takes_over(next).plus(self.rotation.longest_life) <= now
    }
}
