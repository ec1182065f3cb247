//! Receipts: the proof that one entry is in the log.

use std::time::Duration;

use jeton_domain::{
    audit::Entry,
    id::GrantId,
    merkle::{ConsistencyProof, InclusionProof, SignedCheckpoint},
};

use super::{Broker, Refusal, view::View};
use crate::{
    limits::CHECKPOINT_EVERY,
    store::{CheckpointKind, StoreError},
};

/// Checkpoints that a receipt waits for. Why: the entry may be younger than the newest one.
const WAITS: u32 = 3;

/// Names an entry.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    /// By its place.
    Index(u64),
    /// By the grant whose credential was released with it.
    Grant(GrantId),
}

/// An entry and its proof.
pub struct Receipt {
    /// The entry as stored.
    pub text: String,
    /// What it says.
    pub entry: Entry,
    /// That it is in the tree.
    pub proof: InclusionProof,
    /// The root of that tree, signed.
    pub checkpoint: SignedCheckpoint,
}

/// Proves one entry.
///
/// # Errors
/// The same whether there is no such entry or it is not the caller's to see.
pub async fn receipt(broker: &Broker, view: &View, of: Of) -> Result<Receipt, Refusal> {
    let index = match of {
        Of::Index(index) => index,
        Of::Grant(id) => match broker.store.grant(id).await {
            Ok(grant) => grant.entry.ok_or(Refusal::NotFound("entry"))?,
            // Why not its own words: those of a grant that is there, but not to be seen, are these.
            Err(StoreError::NoGrant) => return Err(Refusal::NotFound("entry")),
            Err(error) => return Err(error.into()),
        },
    };
    let text = broker.store.entries(index, 1).await?.pop().ok_or(Refusal::NotFound("entry"))?;
    let entry = read(&text)?;
    if entry.index != index || !view.holds(&entry) {
        return Err(Refusal::NotFound("entry"));
    }
    let checkpoint = covering(broker, index).await?;
    let proof = broker.store.inclusion(index, checkpoint.checkpoint().size).await?;
    Ok(Receipt { text, entry, proof, checkpoint })
}

/// The newest checkpoint; the empty log's before there is one.
///
/// # Errors
/// When the store can't be read, or what it holds is not ours.
pub async fn newest(broker: &Broker) -> Result<Option<SignedCheckpoint>, Refusal> {
    newest_of(broker, CheckpointKind::Newest).await
}

/// The newest checkpoint of a kind.
///
/// # Errors
/// As [`newest`].
pub async fn newest_of(
    broker: &Broker,
    kind: CheckpointKind,
) -> Result<Option<SignedCheckpoint>, Refusal> {
    let Some(note) = broker.store.checkpoint(kind).await? else {
        return Ok(None);
    };
    SignedCheckpoint::open(&note, broker.log_key.public())
        .map(Some)
        .map_err(|error| Refusal::Internal(error.to_string()))
}

/// Proves that the log begins with what it was.
///
/// # Errors
/// When it never had these sizes.
pub async fn consistency(broker: &Broker, old: u64, new: u64) -> Result<ConsistencyProof, Refusal> {
    if old > new {
        return Err(Refusal::Invalid {
            field: "old_size",
            message: format!("{old} is more than new_size, {new}; swap them"),
        });
    }
    Ok(broker.store.consistency(old, new).await?)
}

async fn covering(broker: &Broker, index: u64) -> Result<SignedCheckpoint, Refusal> {
    for _ in 0..WAITS {
        match newest(broker).await? {
            Some(found) if found.checkpoint().size > index => return Ok(found),
            Some(_) | None => {
                tokio::time::sleep(CHECKPOINT_EVERY / 2 + Duration::from_millis(50)).await
            }
        }
    }
    Err(Refusal::InProgress)
}

pub(super) fn read(text: &str) -> Result<Entry, Refusal> {
    Entry::parse(text.as_bytes()).map_err(|error| Refusal::Internal(format!("an entry: {error}")))
}
