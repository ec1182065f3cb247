//! Has the newest checkpoint cosigned by the configured witnesses, and keeps what they sign.

use std::collections::HashMap;

use jeton_domain::merkle::SignedCheckpoint;

use super::{
    Broker, Refusal,
    receipt::{newest, newest_of},
    restore,
};
use crate::{
    config::WitnessConfig,
    store::{CheckpointKind, Mark},
    witness::{Answer, Outside, WitnessError},
};

/// What each witness saw last, by its name.
pub type Seen = HashMap<String, u64>;

/// Asks each witness once.
///
/// # Errors
/// When the store can't be read or written. A witness that fails is told in the broker's own log.
pub async fn witness(
    broker: &Broker,
    outside: &Outside,
    witnesses: &[WitnessConfig],
    seen: &mut Seen,
) -> Result<(), Refusal> {
    let Some(checkpoint) = newest(broker).await? else { return Ok(()) };
    let size = checkpoint.checkpoint().size;
    let mut cosigned = cosigned_before(broker, &checkpoint).await;
    let (mut ahead, mut agreed) = (None, false);
    for witness in witnesses {
        let name = witness.key.name().as_str();
        let before = seen.get(name).copied().unwrap_or(0);
        if before == size {
            agreed = true;
            continue;
        }
        match ask(broker, outside, witness, before, cosigned.clone()).await? {
            Ok(with) => {
                seen.insert(name.to_owned(), size);
                (cosigned, agreed) = (*with, true);
            }
            Err(WitnessError::Ahead(saw)) => {
                tracing::error!(saw, size, name, "a witness has seen a longer log than there is");
                ahead = ahead.max(Some(saw));
            }
            Err(error) => tracing::error!(%error, name, "a witness did not cosign the log"),
        }
    }
    // Why only where none agrees: one witness that lies must not stop a broker that has others.
    if let Some(saw) = ahead.filter(|_| !agreed) {
        put_back(broker, saw).await?;
    }
    if cosigned != checkpoint {
        broker.store.record_checkpoint(CheckpointKind::Witnessed, cosigned).await?;
    }
    Ok(())
}

/// Takes what a witness saw for what it is, once: an operator may have answered for it.
async fn put_back(broker: &Broker, saw: u64) -> Result<(), Refusal> {
    let answered = broker.store.mark(Mark::Acknowledged).await? == Some(saw);
    if answered || broker.halt.restored().is_some() {
        return Ok(());
    }
    tracing::error!(
        "the store was restored from a backup, or witnesses follow another log: every session is ended, and nothing is granted until an operator acknowledges it"
    );
    restore::found(broker, saw).await
}

/// The checkpoint with what witnesses signed of it before, so that no later one is lost.
async fn cosigned_before(broker: &Broker, checkpoint: &SignedCheckpoint) -> SignedCheckpoint {
    match newest_of(broker, CheckpointKind::Witnessed).await {
        Ok(Some(kept)) if kept.checkpoint() == checkpoint.checkpoint() => kept,
        Ok(_) => checkpoint.clone(),
        Err(error) => {
            tracing::error!(%error, "the cosigned checkpoint can't be read; it is made anew");
            checkpoint.clone()
        }
    }
}

/// Asks one; a second time if it last saw another size than was thought.
async fn ask(
    broker: &Broker,
    outside: &Outside,
    witness: &WitnessConfig,
    mut before: u64,
    checkpoint: SignedCheckpoint,
) -> Result<Result<Box<SignedCheckpoint>, WitnessError>, Refusal> {
    let again = "it saw yet another size".to_owned();
    let mut last = WitnessError::Refused(reqwest::StatusCode::CONFLICT, again);
    for _ in 0..2 {
        let proof = broker.store.consistency(before, checkpoint.checkpoint().size).await?;
        match outside.add_checkpoint(&witness.url, &witness.key, &proof, &checkpoint).await {
            Ok(Answer::Cosigned(with)) => return Ok(Ok(with)),
            Ok(Answer::Saw(size)) => before = size,
            Err(error) => {
                last = error;
                break;
            }
        }
    }
    Ok(Err(last))
}
