//! Counts entries by what they say, over time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jeton_domain::{
    audit::EntryFilter,
    ttl::{Timestamp, Ttl},
};
use tokio::time::sleep;

use super::{
    Broker, Refusal,
    read_audit::{bounds, first_not_before, searching},
    receipt::read,
};
use crate::{
    limits::COUNT_TIME,
    store::index::{Bucket, Kind, Query, Uncounted},
};

/// Longest wait for the index. Why no longer: one that is made anew takes minutes, and the answer says
/// how far it has come.
const INDEX_WAIT: Duration = Duration::from_secs(1);
/// Between two looks at it.
const INDEX_PAUSE: Duration = Duration::from_millis(5);
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
    let size = counted_to(broker).await;
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
    let until = Instant::now() + COUNT_TIME;
    let counted = searching(broker, move |index| index.count(&query, by, &buckets, until)).await?;
    let counted = counted.map_err(|why| uncounted(why, by))?;
    let parts = starts.into_iter().zip(counted).filter(|(_, counts)| !counts.is_empty()).collect();
    Ok(Summary { parts, looked_at: size })
}

/// Entries that the index has taken in: all that there are now, unless it is far behind. Why it is
/// waited for: whoever counts has just written some of them, or seen them.
async fn counted_to(broker: &Broker) -> u64 {
    let size = broker.store.growth().borrow().size();
    let until = Instant::now() + INDEX_WAIT;
    while broker.index.size() < size && Instant::now() < until {
        sleep(INDEX_PAUSE).await;
    }
    size.min(broker.index.size())
}

fn uncounted(why: Uncounted, by: Kind) -> Refusal {
    let (field, message) = match why {
        Uncounted::Values => (
            "by",
            format!(
                "there are too many values of `{}` to tell apart; count by another field",
                by.word()
            ),
        ),
        Uncounted::Resources => (
            "filter.resource",
            "too many resources fit to be counted; name a pattern of fewer".to_owned(),
        ),
        Uncounted::Late => (
            "filter",
            "there is too much to count at once; narrow the time, or filter by what is rarer"
                .to_owned(),
        ),
    };
    Refusal::Invalid { field, message }
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
