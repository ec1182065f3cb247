//! Counts entries by what they say, over time.

use std::collections::BTreeMap;

use jeton_domain::{
    audit::EntryFilter,
    ttl::{Timestamp, Ttl},
};

use super::{
    Broker, Refusal,
    read_audit::{bounds, first_not_before, searching},
    receipt::read,
};
use crate::store::index::{Bucket, Kind, Query};

/// Most buckets of one answer. Why: the bound of each is looked up.
const BUCKETS: usize = 400;

/// What to count.
pub struct Wanted {
    /// Which entries; limited to what the caller may see.
    pub filter: EntryFilter,
    /// By their values of this kind.
    pub by: Kind,
    /// In parts of this length; without it all in one.
    pub every: Option<Ttl>,
}

/// What was counted.
pub struct Summary {
    /// Parts with the time at which they begin; those without entries are left out.
    pub parts: Vec<(Timestamp, BTreeMap<String, u64>)>,
    /// Entries that were looked at, from the first on.
    pub looked_at: u64,
}

/// Counts.
///
/// # Errors
/// When there are too many parts or values to tell apart, or the store can't be read.
pub async fn summarise(broker: &Broker, wanted: Wanted) -> Result<Summary, Refusal> {
    let size = broker.store.growth().borrow().size().min(broker.index.size());
    let (low, high) = bounds(broker, &wanted.filter, size).await?;
    if low >= high {
        return Ok(Summary { parts: Vec::new(), looked_at: size });
    }
    let begin = time_of(broker, low).await?;
    let end = time_of(broker, high.saturating_sub(1)).await?;
    let starts = starts(begin, end, wanted.every)?;
    let mut buckets: Vec<Bucket> = Vec::with_capacity(starts.len());
    for next in starts.iter().skip(1).map(Some).chain([None]) {
        let from = buckets.last().map_or(low, |bucket| bucket.high);
        let to = match next {
            Some(time) => first_not_before(broker, *time, high).await?,
            None => high,
        };
        buckets.push(Bucket { low: from, high: to.max(from) });
    }
    let (query, by) = (Query::of(&wanted.filter), wanted.by);
    let counted = searching(broker, move |index| index.count(&query, by, &buckets)).await?;
    let counted = counted.ok_or_else(|| Refusal::Invalid {
        field: "by",
        message: format!(
            "there are too many values of `{}` to tell apart, or resources to look for; count by another field, or narrow the filter",
            by.word()
        ),
    })?;
    let parts = starts.into_iter().zip(counted).filter(|(_, counts)| !counts.is_empty()).collect();
    Ok(Summary { parts, looked_at: size })
}

async fn time_of(broker: &Broker, place: u64) -> Result<Timestamp, Refusal> {
    let text = broker.store.entries(place, 1).await?.pop().ok_or(Refusal::NotFound("entry"))?;
    Ok(read(&text)?.at)
}

/// When the parts begin: at whole multiples of their length.
fn starts(begin: Timestamp, end: Timestamp, every: Option<Ttl>) -> Result<Vec<Timestamp>, Refusal> {
    let Some(every) = every else { return Ok(vec![begin]) };
    let step = i64::from(every.seconds()).saturating_mul(1000);
    let first = begin.millis().div_euclid(step).saturating_mul(step);
    let starts: Vec<Timestamp> =
        std::iter::successors(Some(first), |start| start.checked_add(step))
            .take_while(|start| *start <= end.millis())
            .take(BUCKETS.saturating_add(1))
            .map(Timestamp::from_millis)
            .collect();
    if starts.len() > BUCKETS {
        return Err(Refusal::Invalid {
            field: "every_seconds",
            message: format!(
                "that makes more than {BUCKETS} parts; make them longer, or narrow the time"
            ),
        });
    }
    Ok(starts)
}
