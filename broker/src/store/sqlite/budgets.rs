//! Steps on budgets: what a grant spends is looked at and counted in the commit that records it.

use std::collections::HashMap;

use jeton_domain::{
    budget::{BudgetKey, Spend, Spent, Tally},
    id::Row,
    limits::{BUDGET_SECONDS, BUDGET_STEPS},
    ttl::Timestamp,
};
use rusqlite::{Connection, params};

use super::{
    live::Effect,
    schema::broken,
    writer::{Txn, int},
};
use crate::store::StoreError;

/// Bytes of one share: its key and its seconds.
const SHARE: usize = 20;
/// Grants between two looks at what counts no more.
const TIDY_EVERY: u64 = 512;
/// Rows that one such look deletes at most. Why more than are added meanwhile: so it gets done.
const TIDY_ROWS: i64 = 2048;

/// Refuses a grant that would be one too many, those of this very commit counted. Changes nothing.
pub(super) fn check(txn: &Txn<'_>, spends: &[Spend], now: Timestamp) -> Result<(), StoreError> {
    if spends.is_empty() {
        return Ok(());
    }
    let more = |key: &BudgetKey| txn.spending.get(key).copied().unwrap_or_default();
    let live = txn.live.read();
    let live = live.map_err(|_| StoreError::Broken("the live table is poisoned".into()))?;
    live.tally().check(spends, more, now.max(txn.head.at)).map_err(StoreError::OverBudget)
}

/// Counts a grant, after [`check`] in the same commit.
pub(super) fn spend(
    txn: &mut Txn<'_>,
    grant: Row,
    spends: &[Spend],
    now: Timestamp,
) -> Result<(), StoreError> {
    if spends.is_empty() {
        return Ok(());
    }
    let at = now.max(txn.head.at);
    let shares: Box<[Spent]> = spends.iter().map(Spent::of).collect();
    let seconds = shares.iter().map(|share| i64::from(share.seconds)).max().unwrap_or_default();
    let until = at.seconds().saturating_add(seconds);
    txn.run(
        "INSERT INTO spend VALUES (?1, ?2, ?3, ?4)",
        params![int(grant.get()), at.millis(), until, bytes(&shares)],
    )?;
    if grant.get().is_multiple_of(TIDY_EVERY) {
        tidy(txn, at)?;
    }
    for share in &shares {
        let count = txn.spending.entry(share.key).or_default();
        *count = count.saturating_add(1);
    }
    txn.effects.push(Effect::Spent(grant, shares, at));
    Ok(())
}

/// Forgets grants that ended and began before anything counts them. Why among the oldest only: a look
/// at all would hold up the commit.
fn tidy(txn: &mut Txn<'_>, now: Timestamp) -> Result<(), StoreError> {
    let sql = "DELETE FROM spend WHERE grant_row IN (
        SELECT s.grant_row FROM (SELECT grant_row, until FROM spend ORDER BY grant_row LIMIT 4 * ?2) s
        JOIN grants g ON g.row = s.grant_row WHERE s.until < ?1 AND g.phase >= 3 LIMIT ?2)";
    // Why later: what began counts for one part of the time longer, and the longest is that of a day.
    let over = now.seconds().saturating_sub(i64::from(BUDGET_SECONDS / BUDGET_STEPS));
    txn.run(sql, params![over, TIDY_ROWS]).map(|_| ())
}

/// Reads what still counts.
pub(super) fn read(db: &Connection) -> Result<Tally, StoreError> {
    let sql = "SELECT s.grant_row, s.at, s.shares, g.phase < 3
        FROM spend s JOIN grants g ON g.row = s.grant_row ORDER BY s.at";
    let mut statement = db.prepare(sql).map_err(broken)?;
    let mut tally = Tally::default();
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?, row.get(3)?))
    });
    for row in rows.map_err(broken)? {
        let (grant, at, shares, live) = row.map_err(broken)?;
        let odd = || StoreError::Broken("a spent budget can't be read".into());
        let grant = u64::try_from(grant).ok().and_then(Row::new).ok_or_else(odd)?;
        let (shares, at) = (parse(&shares).ok_or_else(odd)?, Timestamp::from_millis(at));
        match live {
            true => tally.spend(grant, &shares, at),
            false => tally.began(&shares, at),
        }
    }
    Ok(tally)
}

fn bytes(shares: &[Spent]) -> Vec<u8> {
    let share = |share: &Spent| {
        let mut bytes = share.key.0.to_vec();
        bytes.extend(share.seconds.to_be_bytes());
        bytes
    };
    shares.iter().flat_map(share).collect()
}

fn parse(bytes: &[u8]) -> Option<Vec<Spent>> {
    let (shares, rest) = bytes.as_chunks::<SHARE>();
    let share = |bytes: &[u8; SHARE]| {
        let (key, seconds) = bytes.split_first_chunk::<16>()?;
        Some(Spent { key: BudgetKey(*key), seconds: u32::from_be_bytes(seconds.try_into().ok()?) })
    };
    rest.is_empty().then(|| shares.iter().map(share).collect()).flatten()
}

/// What grants of a commit spend that memory does not know of yet.
pub(super) type Spending = HashMap<BudgetKey, u32>;
