//! The key that vouches for the audit log: an Ed25519 key that signs checkpoints and nothing else.

use std::path::Path;

use jeton_domain::merkle::{Checkpoint, KeyName, SignedCheckpoint, VerifierKey};

use super::{
    KeyRingError, SigningAlgorithm,
    folder::{pem, read_pem, write},
};
use crate::crypto::private_key::{KeyFormatError, PrivateKey, SignError};

/// The log's key.
pub struct LogKey {
    private: PrivateKey,
    public: VerifierKey,
}

impl LogKey {
    /// Reads the key, and makes it if there is none. Blocks.
    ///
    /// # Errors
    /// When the file can't be read or written, is open to others, or is no Ed25519 key.
    pub fn open(path: &Path, name: KeyName) -> Result<Self, KeyRingError> {
        if !path.exists() {
            write(path, &pem(&SigningAlgorithm::EdDsa.generate()?))?;
        }
        let format = |source| KeyRingError::Format { path: path.to_owned(), source };
        let private = PrivateKey::from_pem(&read_pem(path)?).map_err(format)?;
        let public = match &private {
            PrivateKey::Ed25519(_) => <[u8; 32]>::try_from(private.public()).ok(),
            PrivateKey::P256(_) | PrivateKey::Rsa(_) => None,
        };
        let public = public.ok_or_else(|| format(KeyFormatError::Unfit))?;
        Ok(Self { private, public: VerifierKey::new(name, public) })
    }

    /// The public half: what auditors keep.
    #[must_use]
    pub fn public(&self) -> &VerifierKey {
        &self.public
    }

    /// Signs the size and root of the log.
    ///
    /// # Errors
    /// When the key can't sign.
    pub fn sign(&self, checkpoint: Checkpoint) -> Result<SignedCheckpoint, SignError> {
        let signature = self.private.sign(checkpoint.text().as_bytes())?;
        Ok(checkpoint.sign(&self.public, |_| signature))
    }
}
