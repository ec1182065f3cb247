//! Checkpoints (C2SP tlog-checkpoint): the size and root of a log at a moment, signed.

use super::{
    hash::Hash,
    note::{KeyName, Note, NoteError, VerifierKey, WitnessKey},
};

/// The size and root of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: its key's name.
    pub origin: KeyName,
    /// Entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

/// A checkpoint and the note that it was read from, its signature checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

/// Why a text is no checkpoint of this log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a note that the log's key signed.
    #[error("the checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The signed text is not that of a checkpoint.
    #[error("the signed text is no checkpoint of `{0}`: origin, size and root on a line each")]
    Shape(String),
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin.as_str(), self.size, self.root)
    }

    /// Signs it; see [`Note::sign`].
    #[must_use]
    pub fn sign(self, key: &VerifierKey, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> SignedCheckpoint {
        let note = Note::sign(self.text(), key, sign);
        SignedCheckpoint { checkpoint: self, note }
    }

    fn parse(text: &str, origin: &KeyName) -> Option<Self> {
        let mut lines = text.split('\n');
        let (name, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let plain = size.bytes().all(|byte| byte.is_ascii_digit());
        let plain = plain && (size == "0" || !size.starts_with('0'));
        let size = plain.then(|| size.parse().ok()).flatten()?;
        // Why the lines after the root are let be: others may add extensions by the specification.
        let known = name == origin.as_str() && lines.next().is_some();
        known.then_some(Self { origin: origin.clone(), size, root: Hash::parse(root)? })
    }
}

impl SignedCheckpoint {
    /// Reads a checkpoint and checks that the log's key signed it.
    ///
    /// # Errors
    /// When it is none, of another log, or not signed by this key.
    pub fn open(text: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note = Note::parse(text)?;
        let signed = note.text_signed_by(key)?;
        let checkpoint = Checkpoint::parse(signed, key.name())
            .ok_or_else(|| CheckpointError::Shape(key.name().as_str().to_owned()))?;
        Ok(Self { checkpoint, note })
    }

    /// The same with the cosignature of a witness; see [`Note::cosigned`].
    ///
    /// # Errors
    /// When the witness did not sign this checkpoint.
    pub fn cosigned(self, lines: &str, key: &WitnessKey) -> Result<Self, CheckpointError> {
        Ok(Self { note: self.note.cosigned(lines, key)?, ..self })
    }

    /// When a witness saw it, in seconds since 1970.
    ///
    /// # Errors
    /// When it did not sign this checkpoint.
    pub fn time_by(&self, key: &WitnessKey) -> Result<u64, CheckpointError> {
        Ok(self.note.time_by(key)?)
    }

    /// What was signed.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

impl std::fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.note.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_has_one_text() {
        let origin = KeyName::parse("log.acme.dev").unwrap();
        let checkpoint = Checkpoint { origin: origin.clone(), size: 12, root: Hash([7; 32]) };
        let text = checkpoint.text();
        assert_eq!(text, "log.acme.dev\n12\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n");
        assert_eq!(Checkpoint::parse(&text, &origin), Some(checkpoint));
        for odd in [
            text.replace("12", "012"),
            text.replace("12", "+12"),
            text.replace("12", ""),
            text.replace("Bwc=", "Bwc"),
            text.replace("acme", "acne"),
            text.trim_end().to_owned(),
        ] {
            assert_eq!(Checkpoint::parse(&odd, &origin), None, "{odd:?}");
        }
    }
}
