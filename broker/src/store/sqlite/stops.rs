//! Standing orders: what is granted to nobody until somebody lifts it.

use std::sync::Arc;

use jeton_domain::{
    audit::Event,
    principal::PrincipalId,
    revocation::{Holder, Matching, Stop, Stops},
    scope::Scope,
    session::Words,
    ttl::Timestamp,
};
use rusqlite::Connection;

use super::{live::Effect, rows, schema::broken, writer::Txn};
use crate::store::StoreError;

/// Reads the stops that hold.
pub(super) fn read(db: &Connection) -> Result<Stops, StoreError> {
    let mut statement = db.prepare("SELECT text FROM stop ORDER BY place").map_err(broken)?;
    let texts = statement.query_map([], |row| row.get::<_, String>(0)).map_err(broken)?;
    let parse = |text: rusqlite::Result<String>| {
        serde_json::from_str::<Stop>(&text.map_err(broken)?)
            .map_err(|error| StoreError::Broken(format!("a stop can't be read: {error}")))
    };
    texts.map(parse).collect::<Result<Vec<_>, _>>().map(Stops::new)
}

/// Puts a stop in force. The same again changes nothing.
pub(super) fn order(txn: &mut Txn<'_>, stop: Stop) -> Result<(), StoreError> {
    let stops = current(txn)?;
    if stops.iter().any(|known| known.matching == stop.matching) {
        return Ok(());
    }
    txn.run("INSERT INTO stop (text) VALUES (?1)", [rows::text(&stop)?])?;
    txn.effects.push(Effect::Stops(Arc::new(stops.with(stop))));
    Ok(())
}

/// Lifts a stop. Tells whether there was one.
pub(super) fn lift(
    txn: &mut Txn<'_>,
    matching: Matching,
    by: PrincipalId,
    reason: Words,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let stops = current(txn)?;
    let Some(left) = stops.without(&matching) else {
        return Ok(false);
    };
    for stop in stops.iter().filter(|stop| stop.matching == matching) {
        txn.run("DELETE FROM stop WHERE text = ?1", [rows::text(stop)?])?;
    }
    txn.append(Event::StopLifted { matching, by, reason }, now)?;
    txn.effects.push(Effect::Stops(Arc::new(left)));
    Ok(true)
}

/// Refuses what somebody stopped, also in this very commit: it was decided before.
pub(super) fn check(
    txn: &Txn<'_>,
    holder: Holder<'_>,
    scope: Option<&Scope>,
) -> Result<(), StoreError> {
    match current(txn)?.against(holder, scope) {
        Some(stop) => Err(StoreError::Stopped(stop.refusal())),
        None => Ok(()),
    }
}

fn current(txn: &Txn<'_>) -> Result<Arc<Stops>, StoreError> {
    let changed = txn.effects.iter().rev().find_map(|effect| match effect {
        Effect::Stops(stops) => Some(Arc::clone(stops)),
        Effect::Session(..)
        | Effect::Live { .. }
        | Effect::Ended(..)
        | Effect::Dead(_)
        | Effect::Approved(..)
        | Effect::ApprovalUsed(..)
        | Effect::ApprovalGone(..)
        | Effect::Spent(..)
        | Effect::Review(..)
        | Effect::Reviewed(..) => None,
    });
    match changed {
        Some(stops) => Ok(stops),
        None => txn
            .live
            .read()
            .map(|live| live.stops())
            .map_err(|_| StoreError::Broken("the live table is poisoned".into())),
    }
}
