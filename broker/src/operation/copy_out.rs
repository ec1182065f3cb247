//! Copies checkpoints to a file outside the store: whoever later changes the store is found by it,
//! and so is a backup that was put back.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jeton_domain::merkle::{CheckpointError, SignedCheckpoint, VerifierKey};
use jeton_files::Access;

use super::{Broker, Refusal};
use crate::store::Mark;

/// Largest copy that is read, in bytes.
const COPY_BYTES: u64 = 64 * 1024;

/// Why a copy is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It can't be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no checkpoint of this log.
    #[error(transparent)]
    Foreign(#[from] CheckpointError),
}

/// A path with an ending more: no two files have the same one.
#[must_use]
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Says that a checkpoint waits to be copied, or that none does any more.
pub fn tell(broker: &Broker, waits: bool) {
    broker.halt.uncopied(waits);
}

/// Notes in the store that there is a copy in a file, so that its absence is noticed.
///
/// # Errors
/// When it can't be recorded.
pub async fn note(broker: &Broker, size: u64) -> Result<(), Refusal> {
    if broker.store.mark(Mark::Copied).await?.is_none() {
        broker.store.record_mark(Mark::Copied, size).await?;
    }
    Ok(())
}

/// Writes the copy, whole or not at all. Blocks.
///
/// # Errors
/// When it can't be written.
pub fn write(checkpoint: &SignedCheckpoint, to: &Path) -> Result<(), CopyError> {
    Ok(jeton_files::replace(to, checkpoint.to_string().as_bytes(), Access::Shared)?)
}

/// Reads the copy, if there is one. Blocks.
///
/// # Errors
/// When it can't be read, or this log's key did not sign it.
pub fn read(from: &Path, key: &VerifierKey) -> Result<Option<SignedCheckpoint>, CopyError> {
    use std::io::Read;
    let file = match fs::File::open(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = String::new();
    file.take(COPY_BYTES).read_to_string(&mut text)?;
    Ok(Some(SignedCheckpoint::open(&text, key)?))
}
