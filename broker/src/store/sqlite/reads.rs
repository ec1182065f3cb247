//! Queries, on readers' connections.

use std::{collections::HashMap, sync::Arc};

use jeton_domain::{
    decision::PolicyId,
    grant::Grant,
    id::{GrantId, RequestId, Row, SessionId, Tag},
    principal::PrincipalId,
    scope::Upstream,
    ttl::Timestamp,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    approvals, budgets,
    grants::request_key,
    live::{Effect, Live},
    reviews, rows,
    schema::broken,
    sessions::opener_key,
    stops,
    writer::{RecentKey, int},
};
use crate::store::{
    EndedEarly, GrantFilter, PageAt, PageOf, QueuedRevocation, Sealed, SessionFilter,
    SessionRecord, StoreError,
};

/// Rows that one page looks at. Why: a rare filter must not read a table of millions in one call;
/// a short page with a token goes on where it stopped.
const LOOKED_AT: i64 = 50_000;

/// What a start needs to know.
pub(super) struct Start {
    pub live: Live,
    pub recent: HashMap<RecentKey, Row>,
    pub next_session: u64,
    pub next_grant: u64,
    pub mark: u64,
}

/// Reads what is live, from the lowest row that may be.
pub(super) fn start(db: &Connection) -> Result<Start, StoreError> {
    let mut live = Live::default();
    live.apply(vec![Effect::Stops(Arc::new(stops::read(db)?))], &mut HashMap::new());
    let mut recent = HashMap::new();
    let sql = format!("SELECT {}, request_id FROM session WHERE phase = 0", rows::SESSION);
    let mut statement = db.prepare(&sql).map_err(broken)?;
    let open = statement
        .query_map([], |row| Ok((rows::session(row)?, row.get::<_, Option<String>>(14)?)))
        .map_err(broken)?;
    for item in open {
        let (record, request_id) = item.map_err(broken)?;
        let id = request_id.and_then(|text| RequestId::parse(&text).ok());
        let key = id.map(|id| opener_key(&record.session.opener, &id));
        if let Some(key) = key {
            recent.insert(key, record.session.id.row());
        }
        live.apply(vec![Effect::Session(Arc::new(record), key)], &mut recent);
    }
    let sql = format!(
        "SELECT {} FROM grants g JOIN session s ON s.row = g.session
         WHERE g.row >= (SELECT value FROM mark WHERE name = 'lowest_live_grant') AND g.phase < 3",
        rows::GRANT
    );
    let mut statement = db.prepare(&sql).map_err(broken)?;
    for grant in statement.query_map([], rows::grant).map_err(broken)? {
        let grant = grant.map_err(broken)?;
        let key = request_key(grant.session, grant.request_id.as_ref());
        if let Some(key) = key {
            recent.insert(key, grant.id.row());
        }
        let Some(due) = grant.state.due() else {
            continue;
        };
        let effect = Effect::Live {
            id: grant.id,
            session: grant.session.row(),
            phase: grant.state.phase(),
            due,
            target: (grant.scope.upstream.clone(), grant.scope.resource.clone()),
            delivery: grant.delivery,
            key,
            slot: None,
        };
        live.apply(vec![effect], &mut recent);
    }
    for (approval, used) in approvals::read(db)? {
        live.apply(vec![Effect::Approved(Arc::new(approval), used)], &mut HashMap::new());
    }
    let reviews = reviews::read(db, &live)?;
    live.apply(reviews, &mut HashMap::new());
    for early in ended_early(db)? {
        live.apply(vec![Effect::Ended(early.grant, Some(early))], &mut HashMap::new());
    }
    Ok(Start {
        live: live.with_tally(budgets::read(db)?),
        recent,
        next_session: after_last(db, "SELECT COALESCE(MAX(row), 0) FROM session")?,
        // Why sessions too: one that opened knows how far ids were reserved, also those never recorded.
        next_grant: after_last(
            db,
            "SELECT MAX(COALESCE((SELECT MAX(row) FROM grants), 0),
                        COALESCE((SELECT MAX(first_grant) FROM session), 1) - 1)",
        )?,
        mark: read_mark(db)?,
    })
}

fn ended_early(db: &Connection) -> Result<Vec<EndedEarly>, StoreError> {
    let sql = "SELECT entry, grant_row, tag, session, dies FROM ended";
    let mut statement = db.prepare(sql).map_err(broken)?;
    let early = statement.query_map([], |row| {
        let number = |column| {
            let number = u64::try_from(row.get::<_, i64>(column)?).ok();
            number.ok_or(rusqlite::Error::InvalidQuery)
        };
        let row_number = |column| Row::new(number(column)?).ok_or(rusqlite::Error::InvalidQuery);
        Ok(EndedEarly {
            entry: number(0)?,
            grant: GrantId::new(row_number(1)?, Tag(row.get(2)?)),
            session: row_number(3)?,
            dies: Timestamp::from_millis(row.get(4)?),
        })
    });
    early.and_then(Iterator::collect::<rusqlite::Result<_>>).map_err(broken)
}

fn read_mark(db: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT value FROM mark WHERE name = 'lowest_live_grant'";
    let mark: i64 = db.query_row(sql, [], |row| row.get(0)).map_err(broken)?;
    Ok(u64::try_from(mark).unwrap_or(1))
}

fn after_last(db: &Connection, sql: &str) -> Result<u64, StoreError> {
    let last: i64 = db.query_row(sql, [], |row| row.get(0)).map_err(broken)?;
    Ok(u64::try_from(last).unwrap_or(0).saturating_add(1))
}

/// Live grants that a policy had a part in.
pub(super) fn live_by_policy(db: &Connection, id: &PolicyId) -> Result<Vec<GrantId>, StoreError> {
    // Why no index: it would cost each grant, and this is asked for when a policy was wrong.
    let sql = "SELECT row, tag FROM grants
         WHERE row >= (SELECT value FROM mark WHERE name = 'lowest_live_grant') AND phase < 3
         AND EXISTS (SELECT 1 FROM json_each(decided_by, '$.policies') WHERE value = ?1)";
    let mut statement = db.prepare_cached(sql).map_err(broken)?;
    let ids = statement.query_map([id.as_str()], |row| {
        let number = u64::try_from(row.get::<_, i64>(0)?).ok().and_then(Row::new);
        let number = number.ok_or(rusqlite::Error::InvalidQuery)?;
        Ok(GrantId::new(number, Tag(row.get(1)?)))
    });
    ids.and_then(Iterator::collect::<rusqlite::Result<_>>).map_err(broken)
}

/// How many grants a session has asked for.
pub(super) fn grants_used(db: &Connection, id: SessionId) -> Result<u32, StoreError> {
    db.prepare_cached("SELECT used FROM session_use WHERE row = ?1")
        .and_then(|mut statement| {
            statement.query_row([int(id.row().get())], |row| row.get(0)).optional()
        })
        .map_err(broken)?
        .ok_or(StoreError::NoSession)
}

/// The sealed credential of a grant.
pub(super) fn sealed(
    db: &Connection,
    id: GrantId,
) -> Result<Option<(Sealed, u32, Timestamp)>, StoreError> {
    // Why one snapshot: a renewal in between would pair a credential with another's version.
    let snapshot = db.unchecked_transaction().map_err(broken)?;
    let grant = rows::find_grant(&snapshot, id)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get::<_, Option<i64>>(1)?))
    };
    let found = snapshot
        .prepare_cached("SELECT sealed, dies FROM grants WHERE row = ?1")
        .and_then(|mut statement| statement.query_row([int(id.row().get())], read))
        .map_err(broken)?;
    Ok(match found {
        (Some(sealed), Some(dies)) => {
            Some((Sealed(sealed), grant.renewals, Timestamp::from_millis(dies)))
        }
        (None, _) | (_, None) => None,
    })
}

/// Queued revocations whose time has come.
pub(super) fn due_revocations(
    db: &Connection,
    now: Timestamp,
    most: usize,
) -> Result<Vec<QueuedRevocation>, StoreError> {
    let sql =
        "SELECT r.place, r.grant_row, g.tag, r.upstream, r.sealed, r.version, r.dies, r.attempts
               FROM (SELECT *, ROW_NUMBER() OVER (
                         PARTITION BY upstream ORDER BY (attempts > 0), next, place
                     ) AS turn FROM revocation WHERE next <= ?1) r
               JOIN grants g ON g.row = r.grant_row
               WHERE r.turn <= ?2 ORDER BY r.turn";
    let mut statement = db.prepare_cached(sql).map_err(broken)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = statement
        .query_map(params![now.millis(), most], |row| {
            let number: i64 = row.get(1)?;
            let upstream: String = row.get(3)?;
            let parsed =
                (u64::try_from(number).ok().and_then(Row::new), Upstream::parse(&upstream).ok());
            let (Some(number), Some(upstream)) = parsed else {
                return Err(rusqlite::Error::InvalidQuery);
            };
            Ok(QueuedRevocation {
                place: row.get(0)?,
                grant: GrantId::new(number, Tag(row.get(2)?)),
                upstream,
                sealed: Sealed(row.get(4)?),
                version: row.get(5)?,
                dies: Timestamp::from_millis(row.get(6)?),
                attempts: row.get(7)?,
            })
        })
        .map_err(broken)?;
    rows.collect::<rusqlite::Result<_>>().map_err(broken)
}

/// A page of sessions.
pub(super) fn list_sessions(
    db: &Connection,
    filter: &SessionFilter,
    page: PageAt,
) -> Result<PageOf<SessionRecord>, StoreError> {
    let sql = format!(
        "SELECT {} FROM session WHERE row < ?1 AND row >= ?2
         AND (?3 IS NULL OR agent = ?3) AND (?4 IS NULL OR phase = ?4)
         AND (?5 IS NULL OR opener = ?5 OR agent = ?5)
         ORDER BY row DESC LIMIT ?6",
        rows::SESSION
    );
    let range = Range::of(db, page, "session", 1)?;
    let mut statement = db.prepare_cached(&sql).map_err(broken)?;
    let found = statement
        .query_map(
            params![
                range.below,
                range.from,
                filter.agent.as_ref().map(PrincipalId::as_str),
                filter.state.map(rows::session_phase_number),
                filter.concerning.as_ref().map(PrincipalId::as_str),
                page.size,
            ],
            rows::session,
        )
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .map_err(broken)?;
    let last = found.last().map(|record| record.session.id.row());
    Ok(range.page(found, last, page.size))
}

/// A page of grants.
pub(super) fn list_grants(
    db: &Connection,
    filter: &GrantFilter,
    page: PageAt,
) -> Result<PageOf<Grant>, StoreError> {
    let lowest = match filter.session {
        // A session's grants all stand above the row that was next when it opened.
        Some(id) => first_grant(db, id)?,
        None => 1,
    };
    let sql = format!(
        "SELECT {} FROM grants g JOIN session s ON s.row = g.session
         WHERE g.row < ?1 AND g.row >= ?2
         AND (?3 IS NULL OR g.session = ?3) AND (?4 IS NULL OR s.agent = ?4)
         AND (?5 IS NULL OR g.phase = ?5) AND (?6 IS NULL OR s.opener = ?6 OR s.agent = ?6)
         ORDER BY g.row DESC LIMIT ?7",
        rows::GRANT
    );
    let range = Range::of(db, page, "grants", lowest)?;
    let mut statement = db.prepare_cached(&sql).map_err(broken)?;
    let found = statement
        .query_map(
            params![
                range.below,
                range.from,
                filter.session.map(|id| int(id.row().get())),
                filter.agent.as_ref().map(PrincipalId::as_str),
                filter.phase.map(rows::phase_number),
                filter.concerning.as_ref().map(PrincipalId::as_str),
                page.size,
            ],
            rows::grant,
        )
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .map_err(broken)?;
    let last = found.last().map(|grant| grant.id.row());
    Ok(range.page(found, last, page.size))
}

fn first_grant(db: &Connection, id: SessionId) -> Result<i64, StoreError> {
    rows::find_session(db, id)?;
    db.query_row("SELECT first_grant FROM session WHERE row = ?1", [int(id.row().get())], |row| {
        row.get(0)
    })
    .map_err(broken)
}

/// The rows that one page looks at.
struct Range {
    below: i64,
    from: i64,
    lowest: i64,
}

impl Range {
    fn of(db: &Connection, page: PageAt, table: &str, lowest: i64) -> Result<Self, StoreError> {
        let below = match page.below {
            Some(row) => int(row.get()),
            None => int(after_last(db, &format!("SELECT COALESCE(MAX(row), 0) FROM {table}"))?),
        };
        Ok(Self { below, from: below.saturating_sub(LOOKED_AT).max(lowest), lowest })
    }

    fn page<T>(&self, rows: Vec<T>, last: Option<Row>, size: u32) -> PageOf<T> {
        let full = u32::try_from(rows.len()).is_ok_and(|count| count >= size);
        let stopped_at = if full { last.map(|row| int(row.get())) } else { Some(self.from) };
        let next = stopped_at
            .filter(|row| *row > self.lowest)
            .and_then(|row| u64::try_from(row).ok())
            .and_then(Row::new);
        PageOf { rows, next }
    }
}
