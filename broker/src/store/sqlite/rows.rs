//! Rows to records and back. A row that can't be read is a broken store, never a default.

use jeton_domain::{
    decision::Delivery,
    delegation::Chain,
    grant::{Grant, Phase},
    id::{GrantId, RequestId, Row as RowNumber, SessionId, Tag},
    principal::PrincipalId,
    session::{Session, SessionState},
    ttl::{Timestamp, Ttl},
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Serialize, de::DeserializeOwned};

use super::{schema::broken, writer::int};
use crate::store::{SessionPhase, SessionRecord, StoreError};

/// Columns of a session, as [`session`] reads them.
pub(super) const SESSION: &str = "row, tag, state, agent, person, opener, task, envelope, binding, handle, opened, deadline, chain, issuers";
/// Columns of a grant with its session's, as [`grant`] reads them.
pub(super) const GRANT: &str = "g.row, g.tag, g.session, s.tag, s.agent, s.person, g.scope, g.ttl, g.reason, g.request_id, g.decided_by, g.requested, g.renewals, g.state, g.entry, s.chain, g.delivery";

/// Reads the columns [`SESSION`].
pub(super) fn session(row: &Row<'_>) -> rusqlite::Result<SessionRecord> {
    Ok(SessionRecord {
        session: Session {
            id: SessionId::new(number(row, 0)?, Tag(row.get(1)?)),
            agent: name(row, 3)?,
            person: row.get::<_, Option<String>>(4)?.map(|text| parse_name(4, text)).transpose()?,
            opener: name(row, 5)?,
            task: json(row, 6)?,
            envelope: json(row, 7)?,
            binding: json(row, 8)?,
            handle_hash: row.get(9)?,
            opened: Timestamp::from_millis(row.get(10)?),
            deadline: Timestamp::from_millis(row.get(11)?),
            chain: chain(row, 12)?,
            issuers: json(row, 13)?,
        },
        state: json::<SessionState>(row, 2)?,
    })
}

/// Reads the columns [`GRANT`].
pub(super) fn grant(row: &Row<'_>) -> rusqlite::Result<Grant> {
    Ok(Grant {
        id: GrantId::new(number(row, 0)?, Tag(row.get(1)?)),
        session: SessionId::new(number(row, 2)?, Tag(row.get(3)?)),
        agent: name(row, 4)?,
        person: row.get::<_, Option<String>>(5)?.map(|text| parse_name(5, text)).transpose()?,
        scope: json(row, 6)?,
        ttl: u32::try_from(row.get::<_, i64>(7)?)
            .ok()
            .and_then(Ttl::from_seconds)
            .ok_or_else(|| odd(7))?,
        reason: json(row, 8)?,
        request_id: match row.get::<_, Option<String>>(9)? {
            Some(text) => Some(RequestId::parse(&text).map_err(|_| odd(9))?),
            None => None,
        },
        decided_by: json(row, 10)?,
        requested: Timestamp::from_millis(row.get(11)?),
        renewals: u32::try_from(row.get::<_, i64>(12)?).map_err(|_| odd(12))?,
        state: json(row, 13)?,
        entry: match row.get::<_, Option<i64>>(14)? {
            Some(entry) => Some(u64::try_from(entry).map_err(|_| odd(14))?),
            None => None,
        },
        chain: chain(row, 15)?,
        delivery: match row.get::<_, i64>(16)? {
            0 => Delivery::Direct,
            1 => Delivery::Gateway,
            _ => return Err(odd(16)),
        },
    })
}

/// One session by its whole id.
pub(super) fn find_session(db: &Connection, id: SessionId) -> Result<SessionRecord, StoreError> {
    let sql = format!("SELECT {SESSION} FROM session WHERE row = ?1");
    let found = db
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row([int(id.row().get())], session).optional())
        .map_err(broken)?;
    found.filter(|record| record.session.id.tag().is(&id.tag())).ok_or(StoreError::NoSession)
}

/// One grant by its whole id.
pub(super) fn find_grant(db: &Connection, id: GrantId) -> Result<Grant, StoreError> {
    let sql = format!(
        "SELECT {GRANT} FROM grants g JOIN session s ON s.row = g.session WHERE g.row = ?1"
    );
    let found = db
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row([int(id.row().get())], grant).optional())
        .map_err(broken)?;
    found.filter(|grant| grant.id.tag().is(&id.tag())).ok_or(StoreError::NoGrant)
}

/// A value as the JSON text of a column.
pub(super) fn text<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Broken(error.to_string()))
}

/// The number of a phase in the column `phase`.
pub(super) fn phase_number(phase: Phase) -> i64 {
    let place = Phase::ALL.iter().position(|known| *known == phase);
    place.and_then(|place| i64::try_from(place).ok()).unwrap_or(-1)
}

/// The number of a delivery in the column `delivery`.
pub(super) fn delivery_number(delivery: Delivery) -> i64 {
    match delivery {
        Delivery::Direct => 0,
        Delivery::Gateway => 1,
    }
}

/// The number of a session's phase in the column `phase`.
pub(super) fn session_phase_number(phase: SessionPhase) -> i64 {
    match phase {
        SessionPhase::Open => 0,
        SessionPhase::Closed => 1,
        SessionPhase::Expired => 2,
    }
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<RowNumber> {
    let number = row.get::<_, i64>(column)?;
    u64::try_from(number).ok().and_then(RowNumber::new).ok_or_else(|| odd(column))
}

fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<PrincipalId> {
    parse_name(column, row.get(column)?)
}

fn parse_name(column: usize, text: String) -> rusqlite::Result<PrincipalId> {
    PrincipalId::parse(&text).map_err(|_| odd(column))
}

/// Why apart: nearly every session has none, and every call reads one.
fn chain(row: &Row<'_>, column: usize) -> rusqlite::Result<Chain> {
    match row.get_ref(column)?.as_str() {
        Ok("[]") => Ok(Chain::default()),
        Ok(_) | Err(_) => json(row, column),
    }
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|_| odd(column))
}

fn odd(column: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        column,
        rusqlite::types::Type::Text,
        "the column holds what this program never writes".into(),
    )
}
