//! Reads the log in the pieces that other people's verifiers know: tiles, bundles of entries, the
//! newest checkpoint (C2SP tlog-tiles).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use jeton_domain::{
    merkle::{BundleId, TILE_WIDTH, TileId, bundle},
    principal::PrincipalId,
};

use super::{Broker, Caller, Refusal, read_audit::record_reading, receipt::newest, view::View};
use crate::limits::READING_EVERY;

/// Who has gone on reading lately: a reader of a long log fetches thousands of pieces, and the record
/// says once in a while that it does.
#[derive(Default)]
pub struct Readers(Mutex<HashMap<(PrincipalId, Way), Instant>>);

/// A way to read the log piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// By pages of a list.
    Pages,
    /// By tiles.
    Tiles,
}

impl Readers {
    /// Tells whether it is time to record that somebody reads.
    pub(super) fn is_due(&self, who: &PrincipalId, way: Way) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, at| at.elapsed() < READING_EVERY);
        let reader = (who.clone(), way);
        let due = !seen.contains_key(&reader);
        if due {
            seen.insert(reader, Instant::now());
        }
        due
    }
}

/// The newest checkpoint, a signed note.
///
/// # Errors
/// When there is none yet.
pub async fn checkpoint(broker: &Broker) -> Result<String, Refusal> {
    Ok(newest(broker).await?.ok_or(Refusal::InProgress)?.to_string())
}

/// The hashes of a tile, joined.
///
/// # Errors
/// When the log has no such tile, or none so wide.
pub async fn tile(broker: &Broker, id: TileId) -> Result<Vec<u8>, Refusal> {
    let last = id.index.saturating_mul(TILE_WIDTH).saturating_add(u64::from(id.width));
    let needed =
        last.saturating_mul(1_u64.checked_shl(8 * u32::from(id.level)).unwrap_or(u64::MAX));
    if needed > broker.store.growth().borrow().size() {
        return Err(Refusal::NotFound("tile"));
    }
    let hashes = broker.store.tile(id).await?;
    Ok(hashes.iter().flat_map(|hash| hash.0).collect())
}

/// Entries, joined.
///
/// # Errors
/// When the caller may not see all entries, or the log has none of these.
pub async fn entries(broker: &Broker, caller: &Caller, id: BundleId) -> Result<Vec<u8>, Refusal> {
    may_see_all(caller)?;
    let first = id.index.saturating_mul(TILE_WIDTH);
    if first.saturating_add(id.width.into()) > broker.store.growth().borrow().size() {
        return Err(Refusal::NotFound("bundle"));
    }
    if broker.readers.is_due(&caller.principal.id, Way::Tiles) {
        record_reading(broker, caller, &View::All, &format!("tiles from {first}")).await?;
    }
    let texts = broker.store.entries(first, id.width.into()).await?;
    bundle(texts.iter().map(String::as_bytes))
        .filter(|_| texts.len() == usize::from(id.width))
        .ok_or(Refusal::NotFound("bundle"))
}

/// Checks that somebody may see the whole log.
///
/// # Errors
/// When the caller has no role for it.
pub fn may_see_all(caller: &Caller) -> Result<(), Refusal> {
    if caller.sees_all() {
        return Ok(());
    }
    Err(Refusal::Forbidden("the log's tiles and entries need the role auditor"))
}
