//! Steps on sessions.

use std::sync::Arc;

use jeton_domain::{
    audit::Event,
    id::{RequestId, SessionId},
    principal::PrincipalId,
    secret::sha256,
    session::{SessionState, Words},
    ttl::Timestamp,
};
use rusqlite::params;

use super::{
    live::Effect,
    rows,
    writer::{RecentKey, Txn, int},
};
use crate::store::{SessionDraft, SessionEnding, SessionPhase, SessionRecord, StoreError};

/// Opens a session, or finds the one that the same opener opened under the same request id.
pub(super) fn open(
    txn: &mut Txn<'_>,
    draft: SessionDraft,
    first_grant: u64,
) -> Result<SessionRecord, StoreError> {
    txn.room()?;
    let SessionDraft { session, method, decided_by, request_id } = draft;
    let key = request_id.as_ref().map(|id| opener_key(&session.opener, id));
    if let Some(row) = key.as_ref().and_then(|key| txn.seen(key)) {
        return found(txn, row.get());
    }
    txn.append(
        Event::SessionOpened {
            session: session.id,
            agent: session.agent.clone(),
            person: session.person.clone(),
            opener: session.opener.clone(),
            method,
            task: session.task.clone(),
            envelope: session.envelope.clone(),
            binding: session.binding.word().to_owned(),
            until: session.deadline,
            decided_by,
        },
        session.opened,
    )?;
    let row = session.id.row();
    txn.run(
        "INSERT INTO session VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)",
        params![
            int(row.get()),
            session.id.tag().0,
            rows::session_phase_number(SessionPhase::Open),
            rows::text(&SessionState::Open)?,
            session.agent.as_str(),
            session.person.as_ref().map(PrincipalId::as_str),
            session.opener.as_str(),
            rows::text(&session.task)?,
            rows::text(&session.envelope)?,
            rows::text(&session.binding)?,
            session.handle_hash,
            session.opened.millis(),
            session.deadline.millis(),
            request_id.as_ref().map(RequestId::as_str),
            int(first_grant),
        ],
    )?;
    txn.run(
        "INSERT INTO session_use VALUES (?1, 0, ?2, 0, ?3)",
        params![int(row.get()), session.deadline.millis(), session.envelope.max_grants()],
    )?;
    if let Some(key) = key {
        txn.remember(key, row);
    }
    let record = SessionRecord { session, state: SessionState::Open };
    txn.effects.push(Effect::Session(Arc::new(record.clone()), key));
    Ok(record)
}

/// Ends a session. Ending it again changes nothing.
pub(super) fn end(
    txn: &mut Txn<'_>,
    id: SessionId,
    ending: SessionEnding,
    now: Timestamp,
) -> Result<SessionRecord, StoreError> {
    let mut record = rows::find_session(txn.db, id)?;
    if record.state != SessionState::Open {
        return Ok(record);
    }
    let at = now.max(txn.head.at);
    let (state, phase, by, reason) = match ending {
        SessionEnding::Closed { by, reason } => (
            SessionState::Closed { at, by: by.clone(), reason: reason.clone() },
            SessionPhase::Closed,
            Some(by),
            reason,
        ),
        SessionEnding::Expired { .. } => (
            SessionState::Expired { at },
            SessionPhase::Expired,
            None,
            Words::new("its deadline passed"),
        ),
    };
    let (agent, person) = (record.session.agent.clone(), record.session.person.clone());
    txn.append(Event::SessionClosed { session: id, agent, person, by, reason }, now)?;
    let phase = rows::session_phase_number(phase);
    let row = int(id.row().get());
    // Why both in one commit: `session_use` is what granting asks, so a closed session grants nothing
    // from this commit on.
    txn.run(
        "UPDATE session SET phase = ?2, state = ?3 WHERE row = ?1 AND phase = 0",
        params![row, phase, rows::text(&state)?],
    )?;
    txn.run("UPDATE session_use SET phase = ?2 WHERE row = ?1 AND phase = 0", params![row, phase])?;
    record.state = state;
    txn.effects.push(Effect::Session(Arc::new(record.clone()), None));
    Ok(record)
}

/// Counts one more grant, if the session is open and has one left.
pub(super) fn use_one(txn: &mut Txn<'_>, id: SessionId, now: Timestamp) -> Result<(), StoreError> {
    let row = int(id.row().get());
    // Compare-and-swap: the state is checked in the statement that counts, so that no request slips
    // in between a close and a grant.
    let counted = txn.run(
        "UPDATE session_use SET used = used + 1 WHERE row = ?1 AND phase = 0 AND deadline > ?2 AND used < most",
        params![row, now.max(txn.head.at).millis()],
    )?;
    if counted == 1 {
        return Ok(());
    }
    let result = txn.db.query_row(
        "SELECT used >= most AND phase = 0 AND deadline > ?2, most FROM session_use WHERE row = ?1",
        params![row, now.millis()],
        |row| Ok((row.get::<_, bool>(0)?, row.get::<_, u32>(1)?)),
    );
    match txn.checked(result)? {
        (true, most) => Err(StoreError::GrantsUsedUp(most)),
        (false, _) => Err(StoreError::SessionOver),
    }
}

/// The key under which an opener's request id is remembered.
pub(super) fn opener_key(opener: &PrincipalId, id: &RequestId) -> RecentKey {
    sha256(format!("open\n{opener}\n{}", id.as_str()).as_bytes())
}

fn found(txn: &mut Txn<'_>, row: u64) -> Result<SessionRecord, StoreError> {
    let sql = format!("SELECT {} FROM session WHERE row = ?1", rows::SESSION);
    let result = txn.db.query_row(&sql, [int(row)], rows::session);
    txn.checked(result)
}
