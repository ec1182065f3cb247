//! Steps on sessions.

use std::sync::Arc;

use jeton_domain::{
    audit::Event,
    delegation::Chain,
    grant::Grant,
    id::{RequestId, SessionId},
    people::People,
    principal::PrincipalId,
    revocation::{Holder, Matching},
    secret::sha256,
    session::{Session, SessionState, Words},
    ttl::Timestamp,
};
use rusqlite::params;

use super::{
    approvals, endings,
    live::Effect,
    open_sessions::{Usage, stored_bytes},
    rows, stops,
    writer::{RecentKey, Txn, int},
};
use crate::{
    limits::{SESSION_CHILDREN, SESSION_DESCENDANTS},
    store::{
        Cut, Ended, Ending, SessionDraft, SessionEnding, SessionPhase, SessionRecord, StoreError,
    },
};

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
    stops::check(txn, Holder::of(&session), None)?;
    may_open_below(txn, &session)?;
    let (creator, usage) = may_hold_more(txn, &session)?;
    txn.append(
        Event::SessionOpened {
            session: session.id,
            agent: session.agent.clone(),
            person: session.person.clone(),
            chain: session.chain.clone(),
            opener: session.opener.clone(),
            method,
            issuers: session.issuers.clone(),
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
        "INSERT INTO session VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17)",
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
            rows::text(&session.chain)?,
            rows::text(&session.issuers)?,
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
    txn.opening.add(creator, usage);
    txn.effects.push(Effect::Session(Arc::new(record.clone()), key));
    Ok(record)
}

/// Looks whether the creator of the tree may have one more session open, those of this very commit
/// included; gives who that is, and what the session takes.
fn may_hold_more(txn: &Txn<'_>, session: &Session) -> Result<(PrincipalId, Usage), StoreError> {
    let live = txn.live.read().map_err(|_| poisoned())?;
    let creator = live.sessions().creator(session);
    let more = Usage::one(stored_bytes(session)?);
    let (own, all) = live.sessions().usage(&creator);
    let (own_now, all_now) = txn.opening.usage(&creator);
    own.and(own_now).and(more).check(all.and(all_now).and(more))?;
    Ok((creator, more))
}

/// The session that an effect opened, if it is one of those.
fn opened(effect: &Effect) -> Option<&Session> {
    match effect {
        Effect::Session(record, _) if record.state == SessionState::Open => Some(&record.session),
        Effect::Session(..)
        | Effect::Live { .. }
        | Effect::Ended(..)
        | Effect::Stops(_)
        | Effect::Dead(_)
        | Effect::Approved(..)
        | Effect::ApprovalUsed(..)
        | Effect::ApprovalGone(..)
        | Effect::Spent(..)
        | Effect::Review(..)
        | Effect::Reviewed(..) => None,
    }
}

/// Looks whether all sessions above are open in this very commit, and the parent has room for one.
fn may_open_below(txn: &mut Txn<'_>, session: &Session) -> Result<(), StoreError> {
    let Some(parent) = session.chain.parent().map(|link| link.session) else {
        return Ok(());
    };
    for link in session.chain.links() {
        if !is_open(txn, link.session, session.opened)? {
            return Err(StoreError::SessionOver);
        }
    }
    let live = txn.live.read().map_err(|_| poisoned())?;
    // Why by the chain: a session stands below each that its chain names.
    let opened_now = |means: &dyn Fn(&Chain) -> bool| {
        txn.effects.iter().filter_map(opened).filter(|session| means(&session.chain)).count()
    };
    let just = opened_now(&|chain| chain.parent().is_some_and(|link| link.session == parent));
    if live.sessions().children(parent).saturating_add(just) >= SESSION_CHILDREN {
        return Err(StoreError::TooManyChildren(SESSION_CHILDREN));
    }
    for link in session.chain.links() {
        let just = opened_now(&|chain| chain.holds(link.session));
        let open = live.sessions().below(link.session, SESSION_DESCENDANTS);
        if open.saturating_add(just) >= SESSION_DESCENDANTS {
            return Err(StoreError::TooManyChildren(SESSION_DESCENDANTS));
        }
    }
    Ok(())
}

/// Refuses when a session, or one above it, is over.
pub(super) fn all_open(
    txn: &mut Txn<'_>,
    id: SessionId,
    chain: &Chain,
    now: Timestamp,
) -> Result<(), StoreError> {
    for session in chain.links().iter().map(|link| link.session).chain([id]) {
        if !is_open(txn, session, now)? {
            return Err(StoreError::SessionOver);
        }
    }
    Ok(())
}

fn is_open(txn: &mut Txn<'_>, id: SessionId, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT phase = 0 AND deadline > ?2 FROM session_use WHERE row = ?1";
    let now = now.max(txn.head.at).millis();
    let result = txn.db.query_row(sql, params![int(id.row().get()), now], |row| row.get(0));
    txn.checked(result)
}

/// The open sessions that match, and opened in time, also those that this very commit opens.
pub(super) fn matching(
    txn: &mut Txn<'_>,
    matching: &Matching,
    opened_until: Option<Timestamp>,
    people: &People,
) -> Result<Vec<SessionId>, StoreError> {
    let mut ids = txn.live.read().map_err(|_| poisoned())?.sessions().matching(matching, people);
    ids.extend(txn.effects.iter().filter_map(|effect| match effect {
        Effect::Session(record, _)
            if matching.means_holder(Holder::of(&record.session), people) =>
        {
            Some(record.session.id)
        }
        Effect::Session(..)
        | Effect::Live { .. }
        | Effect::Ended(..)
        | Effect::Stops(_)
        | Effect::Dead(_)
        | Effect::Approved(..)
        | Effect::ApprovalUsed(..)
        | Effect::ApprovalGone(..)
        | Effect::Spent(..)
        | Effect::Review(..)
        | Effect::Reviewed(..) => None,
    }));
    let Some(until) = opened_until else { return Ok(ids) };
    // Why in this order: a session stands behind the one that opened it.
    ids.sort_unstable_by_key(|id| id.row());
    let mut in_time: Vec<SessionId> = Vec::new();
    for id in ids {
        let Session { opened, chain, .. } = rows::find_session(txn.db, id)?.session;
        let below = || in_time.iter().any(|ended| chain.holds(*ended));
        if opened <= until || below() {
            in_time.push(id);
        }
    }
    Ok(in_time)
}

/// Ends sessions with all that was granted in them.
pub(super) fn end_all(
    txn: &mut Txn<'_>,
    ids: Vec<SessionId>,
    ending: &SessionEnding,
    now: Timestamp,
) -> Result<Cut, StoreError> {
    let mut cut = Cut::default();
    for id in ids {
        if end(txn, id, ending, now)? {
            cut.sessions = cut.sessions.saturating_add(1);
            cut.grants.extend(revoke_grants(txn, id, ending, now)?);
        }
    }
    Ok(cut)
}

/// Ends one session. Ending it again changes nothing. Tells whether this ended it.
fn end(
    txn: &mut Txn<'_>,
    id: SessionId,
    ending: &SessionEnding,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut record = rows::find_session(txn.db, id)?;
    if record.state != SessionState::Open {
        return Ok(false);
    }
    let at = now.max(txn.head.at);
    let (state, phase, by, reason) = match ending.clone() {
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
    let Session { agent, person, chain, .. } = record.session.clone();
    txn.append(Event::SessionClosed { session: id, agent, person, chain, by, reason }, now)?;
    let phase = rows::session_phase_number(phase);
    let row = int(id.row().get());
    // Why both in one commit: `session_use` is what granting asks, so a closed session grants nothing
    // from this commit on.
    txn.run(
        "UPDATE session SET phase = ?2, state = ?3 WHERE row = ?1 AND phase = 0",
        params![row, phase, rows::text(&state)?],
    )?;
    txn.run("UPDATE session_use SET phase = ?2 WHERE row = ?1 AND phase = 0", params![row, phase])?;
    approvals::drop_session(txn, id)?;
    record.state = state;
    txn.effects.push(Effect::Session(Arc::new(record), None));
    Ok(true)
}

/// Revokes what a session holds, also what this very commit gave it.
fn revoke_grants(
    txn: &mut Txn<'_>,
    id: SessionId,
    ending: &SessionEnding,
    now: Timestamp,
) -> Result<Vec<Grant>, StoreError> {
    let (by, reason) = match ending {
        SessionEnding::Closed { by, reason } => (by.clone(), reason.clone()),
        SessionEnding::Expired { by } => (by.clone(), Words::new("its session is over")),
    };
    let mut held = txn.live.read().map_err(|_| poisoned())?.grants_of(id);
    held.extend(txn.effects.iter().filter_map(|effect| match effect {
        Effect::Live { id: grant, session, .. } if *session == id.row() => Some(*grant),
        Effect::Live { .. }
        | Effect::Session(..)
        | Effect::Ended(..)
        | Effect::Stops(_)
        | Effect::Dead(_)
        | Effect::Approved(..)
        | Effect::ApprovalUsed(..)
        | Effect::ApprovalGone(..)
        | Effect::Spent(..)
        | Effect::Review(..)
        | Effect::Reviewed(..) => None,
    }));
    let ending = Ending::Revoked { by, reason };
    let mut revoked = Vec::new();
    for grant in held {
        if let Ended { grant, changed: true } = endings::end(txn, grant, ending.clone(), now)? {
            revoked.push(grant);
        }
    }
    Ok(revoked)
}

/// Counts one more grant, in the session and in all above it, if each is open and has one left.
pub(super) fn use_one(
    txn: &mut Txn<'_>,
    id: SessionId,
    chain: &Chain,
    now: Timestamp,
) -> Result<(), StoreError> {
    // Why first all and then any: an error must leave nothing counted.
    for link in chain.links() {
        has_one(txn, link.session, now)?;
    }
    count_one(txn, id, now)?;
    for link in chain.links() {
        count_one(txn, link.session, now)?;
    }
    Ok(())
}

fn count_one(txn: &mut Txn<'_>, id: SessionId, now: Timestamp) -> Result<(), StoreError> {
    // Compare-and-swap: the state is checked in the statement that counts, so that no request slips
    // in between a close and a grant.
    let counted = txn.run(
        "UPDATE session_use SET used = used + 1 WHERE row = ?1 AND phase = 0 AND deadline > ?2 AND used < most",
        params![int(id.row().get()), now.max(txn.head.at).millis()],
    )?;
    if counted == 1 { Ok(()) } else { has_one(txn, id, now) }
}

/// Says what is lacking, if anything is.
fn has_one(txn: &mut Txn<'_>, id: SessionId, now: Timestamp) -> Result<(), StoreError> {
    let result = txn.db.query_row(
        "SELECT phase = 0 AND deadline > ?2, used >= most, most FROM session_use WHERE row = ?1",
        params![int(id.row().get()), now.max(txn.head.at).millis()],
        |row| Ok((row.get::<_, bool>(0)?, row.get::<_, bool>(1)?, row.get::<_, u32>(2)?)),
    );
    match txn.checked(result)? {
        (false, _, _) => Err(StoreError::SessionOver),
        (true, true, most) => Err(StoreError::GrantsUsedUp(most)),
        (true, false, _) => Ok(()),
    }
}

fn poisoned() -> StoreError {
    StoreError::Broken("the live table is poisoned".into())
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
