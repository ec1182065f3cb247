//! Vouches for the log: signs its size and root, and keeps that.

use jeton_domain::merkle::{Checkpoint, SignedCheckpoint};

use super::{Broker, Refusal};
use crate::store::CheckpointKind;

/// Signs the log as it is now and keeps the checkpoint. The empty log needs none.
///
/// # Errors
/// When it can't be signed or recorded; the next try covers the same entries.
pub async fn checkpoint(broker: &Broker) -> Result<SignedCheckpoint, Refusal> {
    let tree = broker.store.growth().borrow().clone();
    let origin = broker.log_key.public().name().clone();
    let unsigned = Checkpoint { origin, size: tree.size(), root: tree.root() };
    let signed =
        broker.log_key.sign(unsigned).map_err(|error| Refusal::Internal(error.to_string()))?;
    broker.store.record_checkpoint(CheckpointKind::Newest, signed.clone()).await?;
    Ok(signed)
}
