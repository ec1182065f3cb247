//! The broker's own signatures: its keys, the tokens signed with them, and how these are checked.
//!
//! Keys live in a folder that only the broker reads. Which key signs and which are published is a
//! pure function of the keys and the time (see [`schedule`]), so that a restart changes nothing.

mod folder;
mod key;
pub mod log_key;
pub mod schedule;
pub mod status;
pub mod token;
pub mod verify;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use jeton_domain::ttl::Timestamp;
use jsonwebtoken::jwk::JwkSet;

pub use jeton_domain::token::claims::{self, Confirmation};

use self::{
    folder::Folder,
    schedule::{Keys, Rotation},
};
pub use self::{
    folder::KeyRingError,
    key::{Ed25519Name, SigningAlgorithm, SigningKey},
};

/// The signing keys of one broker.
pub struct KeyRing {
    folder: Folder,
    algorithm: SigningAlgorithm,
    keys: ArcSwap<Keys>,
    /// Held while the folder and `keys` change together.
    changing: Mutex<()>,
}

/// What [`KeyRing::tend`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tended {
    /// The new key's id.
    pub made: Option<String>,
    /// Ids of keys that nothing valid is signed with any more.
    pub removed: Vec<String>,
}

impl KeyRing {
    /// Reads the keys of a folder, and makes the first one if there is none. Blocks.
    ///
    /// # Errors
    /// When the folder or a key can't be read, is open to others, or is no key.
    pub fn open(
        folder: &Path,
        algorithm: SigningAlgorithm,
        rotation: Rotation,
        now: Timestamp,
    ) -> Result<Self, KeyRingError> {
        let folder = Folder::open(folder)?;
        let mut keys = folder.read()?.into_iter();
        let oldest = match keys.next() {
            Some(oldest) => oldest,
            None => folder.make(algorithm, now)?,
        };
        let keys = Keys::new(oldest, keys, rotation);
        Ok(Self { folder, algorithm, keys: ArcSwap::from_pointee(keys), changing: Mutex::new(()) })
    }

    /// The key that signs now.
    #[must_use]
    pub fn active(&self, now: Timestamp) -> Arc<SigningKey> {
        Arc::clone(self.keys.load().active(now))
    }

    /// The published key whose tokens begin with this encoded header.
    #[must_use]
    pub fn with_header(&self, header: &str, now: Timestamp) -> Option<Arc<SigningKey>> {
        self.keys
            .load()
            .published(now)
            .find(|key| {
                [Ed25519Name::EdDsa, Ed25519Name::Ed25519]
                    .iter()
                    .any(|name| key.header_named(*name) == header)
            })
            .cloned()
    }

    /// The public halves that verifiers should know now (RFC 7517).
    #[must_use]
    pub fn jwks(&self, now: Timestamp) -> JwkSet {
        JwkSet { keys: self.keys.load().published(now).map(|key| key.jwk().clone()).collect() }
    }

    /// The same for verifiers of tokens that name the algorithm by RFC 9864: the Ed25519 keys, each under another id.
    #[must_use]
    pub fn renamed_jwks(&self, now: Timestamp) -> Vec<serde_json::Value> {
        let keys = self.keys.load();
        keys.published(now).filter_map(|key| key.renamed_jwk().cloned()).collect()
    }

    /// Makes a new key. It is published at once and signs after the overlap. Blocks.
    ///
    /// # Errors
    /// When it can't be written; then nothing changed.
    pub fn rotate(&self, now: Timestamp) -> Result<String, KeyRingError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.add_key(now)
    }

    /// Makes a new key and removes all others: whatever was signed until now is signed by no key that
    /// is published. The new one signs at once; verifiers take a while to know it. Blocks.
    ///
    /// # Errors
    /// When a file can't be written or removed; the old keys are out of use even so once the new one
    /// is there.
    pub fn replace(&self, now: Timestamp) -> Result<String, KeyRingError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.keys.load_full();
        // Why later than all others: a file is named by its second, and the newest is the one to keep.
        let newest = old.all().map(|key| key.created().seconds()).max().unwrap_or(0);
        let at = now.seconds().max(newest.saturating_add(1));
        let key = self.folder.make(self.algorithm, Timestamp::from_seconds(at))?;
        let kid = key.kid().to_owned();
        self.keys.store(Arc::new(old.alone(key)));
        for key in old.all() {
            self.folder.remove(key)?;
        }
        Ok(kid)
    }

    /// Makes a new key if it is time, and removes those that have served. Blocks.
    ///
    /// # Errors
    /// When a file can't be written or removed; the next call tries again.
    pub fn tend(&self, now: Timestamp) -> Result<Tended, KeyRingError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let due = self.keys.load().rotation_due(now);
        let made = if due { Some(self.add_key(now)?) } else { None };
        let (left, gone) = self.keys.load().without_served(now);
        for key in &gone {
            self.folder.remove(key)?;
        }
        if !gone.is_empty() {
            self.keys.store(Arc::new(left));
        }
        Ok(Tended { made, removed: gone.iter().map(|key| key.kid().to_owned()).collect() })
    }

    /// Why the file first: a key that signed and is then lost would strand what it signed.
    fn add_key(&self, now: Timestamp) -> Result<String, KeyRingError> {
        let key = self.folder.make(self.algorithm, now)?;
        let kid = key.kid().to_owned();
        self.keys.store(Arc::new(self.keys.load().with(key)));
        Ok(kid)
    }
}

#[cfg(test)]
mod tests;
