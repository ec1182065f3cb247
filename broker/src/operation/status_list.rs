//! Tells everyone which tokens were taken back, as a signed list. It holds no names.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use jeton_domain::{token::status_list::LENGTH, ttl::Timestamp};
use tokio::sync::Semaphore;

use super::{Broker, Refusal};
use crate::limits::{STATUS_LIST_AGE_MILLIS, STATUS_LIST_PAUSE_MILLIS, STATUS_LISTS_KEPT};

/// Lists that were signed lately: whoever asks often is answered from here.
pub struct SignedLists {
    kept: Mutex<HashMap<u64, Kept>>,
    /// One is signed at a time. Why: they are for everyone, and each costs the processor much.
    signing: Semaphore,
}

struct Kept {
    list: String,
    /// When it was signed.
    at: Timestamp,
    /// Behind the last entry that ended a grant of it or of another one.
    next: u64,
}

impl Default for SignedLists {
    fn default() -> Self {
        Self { kept: Mutex::default(), signing: Semaphore::new(1) }
    }
}

impl SignedLists {
    fn fresh(&self, broker: &Broker, number: u64, now: Timestamp) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get(&number)?;
        let age = now.millis().saturating_sub(kept.at.millis());
        let longest = match broker.store.ended_early(kept.next, 1).is_empty() {
            true => STATUS_LIST_AGE_MILLIS,
            false => STATUS_LIST_PAUSE_MILLIS,
        };
        (0..longest).contains(&age).then(|| kept.list.clone())
    }

    fn keep(&self, number: u64, kept: Kept) {
        let mut lists = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = lists.iter().min_by_key(|(_, kept)| kept.at).map(|(number, _)| *number);
        if lists.len() >= STATUS_LISTS_KEPT
            && let Some(oldest) = oldest
        {
            lists.remove(&oldest);
        }
        lists.insert(number, kept);
    }
}

/// One list, signed.
///
/// # Errors
/// When there is no such list, or the store has stopped: unknown is never "good".
pub async fn status_list(broker: &Broker, number: u64) -> Result<String, Refusal> {
    if number > broker.store.last_grant() / LENGTH {
        return Err(Refusal::NotFound("status list"));
    }
    if !broker.store.is_healthy() {
        return Err(super::line::unknown());
    }
    let now = broker.clock.now();
    if let Some(list) = broker.signed_lists.fresh(broker, number, now) {
        return Ok(list);
    }
    let _turn = broker.signed_lists.signing.acquire().await.map_err(|_| super::line::unknown())?;
    // Why again: whoever had the turn before may have signed it.
    let now = broker.clock.now();
    if let Some(list) = broker.signed_lists.fresh(broker, number, now) {
        return Ok(list);
    }
    // Why before the look: what ends meanwhile is then looked for again.
    let next = broker.store.growth().borrow().size();
    let first = number.saturating_mul(LENGTH);
    let rows = broker.store.ended_rows(first..first.saturating_add(LENGTH)).into_iter();
    let signed = broker
        .status
        .sign(&broker.keys, number, rows, now)
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    let list = signed.ok_or(Refusal::NotFound("status list"))?;
    broker.signed_lists.keep(number, Kept { list: list.clone(), at: now, next });
    Ok(list)
}
