//! Moves old entries out of the store into a folder of tiles, a piece at a time. Their hashes stay, so
//! that every proof holds as before; what left is on record.

use std::path::PathBuf;

use jeton_domain::{
    merkle::TILE_WIDTH,
    session::Words,
    ttl::{Timestamp, Ttl},
};

use super::{
    Broker, Refusal, checkpoint::checkpoint, read_audit::first_not_before, receipt::newest,
};

/// Bundles of one piece. Why: taking so many entries out holds the writer for a few milliseconds.
const PIECE: u64 = 16;

/// How long entries stay in the store.
#[derive(Debug, Clone)]
pub struct Retention {
    /// How long.
    pub keep: Ttl,
    /// Where older ones go.
    pub archive: PathBuf,
}

/// Moves the next piece out. Tells whether there may be more.
///
/// # Errors
/// When the folder can't be written, or the entries are not those of the tree: then they stay.
pub async fn move_out(broker: &Broker, retention: &Retention) -> Result<bool, Refusal> {
    let seconds = i64::from(retention.keep.seconds());
    let now = broker.clock.now();
    let oldest = Timestamp::from_millis(now.millis().saturating_sub(seconds.saturating_mul(1000)));
    let size = broker.store.growth().borrow().size();
    let signed = newest(broker).await?.map_or(0, |newest| newest.checkpoint().size);
    let first = broker.store.first_entry().await?;
    let until = first_not_before(broker, oldest, size).await?.min(signed) / TILE_WIDTH;
    let until = until.min(first / TILE_WIDTH + PIECE).saturating_mul(TILE_WIDTH);
    if until <= first {
        return Ok(false);
    }
    broker.store.archive(first, until).await?;
    let to = Words::new(&retention.archive.display().to_string());
    broker.store.drop_entries(until, to, now).await?;
    // Why now: a verifier that has the store alone believes the move only under a checkpoint.
    checkpoint(broker).await?;
    Ok(true)
}
