//! Has the newest checkpoint cosigned by the configured witnesses, and keeps what they sign.

use std::collections::HashMap;

use jeton_domain::merkle::SignedCheckpoint;

use super::{Broker, Refusal, receipt::newest};
use crate::{
    config::WitnessConfig,
    store::CheckpointKind,
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
    let mut cosigned = checkpoint.clone();
    for witness in witnesses {
        let name = witness.key.name().as_str();
        let before = seen.get(name).copied().unwrap_or(0);
        if before == size {
            continue;
        }
        match ask(broker, outside, witness, before, cosigned.clone()).await? {
            Ok(with) => {
                seen.insert(name.to_owned(), size);
                cosigned = *with;
            }
            Err(error) => tracing::error!(%error, name, "a witness did not cosign the log"),
        }
    }
    if cosigned != checkpoint {
        broker.store.record_checkpoint(CheckpointKind::Witnessed, cosigned).await?;
    }
    Ok(())
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
