//! Steps on grants: each checks the state in the statement that changes it.

use jeton_domain::{
    audit::{About, Event},
    grant::{Grant, GrantState, Phase},
    id::{GrantId, RequestId, Row, SessionId},
    permit::Permit,
    revocation::Holder,
    secret::sha256,
    ttl::Timestamp,
};
use rusqlite::params;

use super::{
    approvals, budgets,
    live::Effect,
    reviews, rows, sessions, stops,
    writer::{RecentKey, Txn, int},
};
use crate::capacity::Slot;
use crate::limits::PENDING_OF_SESSION;
use crate::store::{Intent, IssueRecord, Issued, PendingDraft, RecordedPermit, Signed, StoreError};

/// Records a request that waits for people.
pub(super) fn pending(
    txn: &mut Txn<'_>,
    draft: PendingDraft,
    now: Timestamp,
) -> Result<Grant, StoreError> {
    txn.room()?;
    let PendingDraft { grant, reviewers } = draft;
    let key = request_key(grant.session, grant.request_id.as_ref());
    if let Some(row) = key.as_ref().and_then(|key| txn.seen(key)) {
        return found(txn, row);
    }
    let GrantState::Pending { guards, until } = &grant.state else {
        return Err(StoreError::Conflict(grant.state.phase()));
    };
    stops::check(txn, holder(&grant), Some(&grant.scope))?;
    let slot = may_wait(txn, grant.session)?;
    sessions::use_one(txn, grant.session, &grant.chain, now)?;
    let (guards, until) = (guards.clone(), *until);
    txn.append(Event::Pending { about: about(&grant), guards, until }, now)?;
    insert(txn, &grant, None)?;
    push_waiting(txn, &grant, until, key, Some(slot));
    reviews::due(txn, &grant, reviewers)?;
    Ok(grant)
}

/// Records an intent.
pub(super) fn intent(
    txn: &mut Txn<'_>,
    id: GrantId,
    permit: Permit,
    request_id: Option<RequestId>,
) -> Result<Intent, StoreError> {
    txn.room()?;
    let key = request_key(permit.session(), request_id.as_ref());
    if let Some(row) = key.as_ref().and_then(|key| txn.seen(key)) {
        return found(txn, row).map(|grant| Intent::Seen(Issued { grant }));
    }
    let since = permit.decided();
    let grant = from_permit(id, &permit, request_id, GrantState::Minting { since });
    stops::check(txn, holder(&grant), Some(&grant.scope))?;
    approvals::check(txn, &grant.decided_by.approvals, since)?;
    budgets::check(txn, permit.spends(), since)?;
    sessions::use_one(txn, grant.session, &grant.chain, since)?;
    budgets::spend(txn, id.row(), permit.spends(), since)?;
    approvals::use_up(txn, grant.session, &grant.decided_by.approvals)?;
    txn.append(Event::Intent { about: about(&grant), ttl: permit.ttl() }, since)?;
    insert(txn, &grant, None)?;
    push_live(txn, &grant, since, key);
    Ok(Intent::Fresh(RecordedPermit { grant: id, version: 0, permit }))
}

/// Records intent and issue at once.
pub(super) fn signed(
    txn: &mut Txn<'_>,
    id: GrantId,
    permit: &Permit,
    request_id: Option<RequestId>,
    issue: IssueRecord,
) -> Result<Signed, StoreError> {
    txn.room()?;
    let key = request_key(permit.session(), request_id.as_ref());
    if let Some(row) = key.as_ref().and_then(|key| txn.seen(key)) {
        return found(txn, row).map(|grant| Signed::Seen(Issued { grant }));
    }
    let until = issue.until;
    let mut grant = from_permit(id, permit, request_id, GrantState::Active { until });
    stops::check(txn, holder(&grant), Some(&grant.scope))?;
    approvals::check(txn, &grant.decided_by.approvals, permit.decided())?;
    budgets::check(txn, permit.spends(), permit.decided())?;
    sessions::use_one(txn, grant.session, &grant.chain, permit.decided())?;
    budgets::spend(txn, id.row(), permit.spends(), permit.decided())?;
    approvals::use_up(txn, grant.session, &grant.decided_by.approvals)?;
    let event =
        Event::Issued { about: about(&grant), fingerprint: issue.fingerprint.clone(), until };
    grant.entry = Some(txn.append(event, permit.decided())?);
    insert(txn, &grant, Some(&issue))?;
    push_live(txn, &grant, until, key);
    Ok(Signed::Fresh(Issued { grant }))
}

/// Records that an intent led to a credential.
pub(super) fn issued(
    txn: &mut Txn<'_>,
    id: GrantId,
    issue: IssueRecord,
    now: Timestamp,
) -> Result<Issued, StoreError> {
    let mut grant = rows::find_grant(txn.db, id)?;
    let until = issue.until;
    grant.state = GrantState::Active { until };
    let event =
        Event::Issued { about: about(&grant), fingerprint: issue.fingerprint.clone(), until };
    grant.entry = Some(txn.next_entry());
    let changed = txn.run(
        "UPDATE grants SET phase = ?2, state = ?3, sealed = ?4, dies = ?5, entry = ?7 WHERE row = ?1 AND phase = ?6",
        params![
            int(id.row().get()),
            rows::phase_number(Phase::Active),
            rows::text(&grant.state)?,
            issue.sealed.as_ref().map(|sealed| &sealed.0),
            issue.dies.millis(),
            rows::phase_number(Phase::Minting),
            grant.entry.map(int),
        ],
    )?;
    if changed != 1 {
        return Err(conflict(txn, id));
    }
    txn.append(event, now)?;
    push_live(txn, &grant, until, None);
    Ok(Issued { grant })
}

/// Records that an active grant's credential is about to be replaced.
pub(super) fn renewal_intent(
    txn: &mut Txn<'_>,
    id: GrantId,
    permit: Permit,
) -> Result<RecordedPermit, StoreError> {
    txn.room()?;
    let mut grant = rows::find_grant(txn.db, id)?;
    let since = permit.decided();
    if grant.state.due().is_some_and(|due| due <= since) {
        return Err(StoreError::Conflict(Phase::Expired));
    }
    stops::check(txn, holder(&grant), Some(&grant.scope))?;
    grant.decided_by = permit.decided_by().clone();
    approvals::check(txn, &grant.decided_by.approvals, since)?;
    let changed = txn.run(
        "UPDATE grants SET renewing = ?2 WHERE row = ?1 AND phase = ?3 AND renewing IS NULL",
        params![int(id.row().get()), since.millis(), rows::phase_number(Phase::Active)],
    )?;
    if changed != 1 {
        return Err(conflict(txn, id));
    }
    approvals::use_up(txn, grant.session, &grant.decided_by.approvals)?;
    txn.append(Event::Intent { about: about(&grant), ttl: permit.ttl() }, since)?;
    Ok(RecordedPermit { grant: id, version: grant.renewals.saturating_add(1), permit })
}

/// Records a renewal. What was sealed before is queued for revocation.
pub(super) fn renewed(
    txn: &mut Txn<'_>,
    id: GrantId,
    issue: IssueRecord,
    now: Timestamp,
) -> Result<Issued, StoreError> {
    if issue.sealed.is_none() {
        // Why not for the other kind: its intent took room, and what was minted must be recorded.
        txn.room()?;
    }
    let mut grant = rows::find_grant(txn.db, id)?;
    if grant.state.phase() != Phase::Active {
        return Err(StoreError::Conflict(grant.state.phase()));
    }
    if grant.state.due().is_some_and(|due| due <= now.max(txn.head.at)) {
        return Err(StoreError::Conflict(Phase::Expired));
    }
    stops::check(txn, holder(&grant), Some(&grant.scope))?;
    if issue.sealed.is_none() {
        approvals::check(txn, &issue.decided_by.approvals, now)?;
        approvals::use_up(txn, grant.session, &issue.decided_by.approvals)?;
    }
    let before = queue_sealed(txn, &grant, now)?;
    // Why the later one: a token that the broker signed before stays good by itself to its own end.
    let dies = match before {
        Queued { sealed: false, dies: Some(dies) } => issue.dies.max(dies),
        Queued { .. } => issue.dies,
    };
    let until = issue.until;
    grant.state = GrantState::Active { until };
    grant.ttl = issue.ttl;
    grant.decided_by = issue.decided_by;
    grant.renewals = grant.renewals.saturating_add(1);
    grant.entry = Some(txn.next_entry());
    let changed = txn.run(
        "UPDATE grants SET state = ?2, sealed = ?3, dies = ?4, renewals = ?5, ttl = ?7, decided_by = ?8, entry = ?9, renewing = NULL WHERE row = ?1 AND phase = ?6",
        params![
            int(id.row().get()),
            rows::text(&grant.state)?,
            issue.sealed.as_ref().map(|sealed| &sealed.0),
            dies.millis(),
            grant.renewals,
            rows::phase_number(Phase::Active),
            issue.ttl.seconds(),
            rows::text(&grant.decided_by)?,
            grant.entry.map(int),
        ],
    )?;
    if changed != 1 {
        return Err(conflict(txn, id));
    }
    txn.append(
        Event::Renewed { about: about(&grant), fingerprint: issue.fingerprint, until },
        now,
    )?;
    push_live(txn, &grant, until, None);
    Ok(Issued { grant })
}

/// What is known of a grant's credential.
pub(super) struct Queued {
    /// Whether it waits for the upstream to be told.
    pub sealed: bool,
    /// When it dies by itself; `None` if there never was one.
    pub dies: Option<Timestamp>,
}

/// Puts the sealed credential of a grant, if there is one, into the revocation queue.
pub(super) fn queue_sealed(
    txn: &mut Txn<'_>,
    grant: &Grant,
    now: Timestamp,
) -> Result<Queued, StoreError> {
    let row = int(grant.id.row().get());
    let result = txn.db.query_row("SELECT sealed, dies FROM grants WHERE row = ?1", [row], |row| {
        Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get::<_, Option<i64>>(1)?))
    });
    let (sealed, dies) = txn.checked(result)?;
    let queued = Queued {
        sealed: sealed.is_some() && dies.is_some(),
        dies: dies.map(Timestamp::from_millis),
    };
    if queued.sealed {
        txn.run(
            "INSERT INTO revocation (grant_row, upstream, sealed, version, dies, attempts, next) VALUES (?1,?2,?3,?4,?5,0,?6)",
            params![row, grant.scope.upstream.as_str(), sealed, grant.renewals, dies, now.millis()],
        )?;
        txn.run("UPDATE grants SET sealed = NULL WHERE row = ?1", [row])?;
    }
    Ok(queued)
}

/// Says that a grant is live, once the commit is on disk.
pub(super) fn push_live(txn: &mut Txn<'_>, grant: &Grant, due: Timestamp, key: Option<RecentKey>) {
    push_waiting(txn, grant, due, key, None);
}

/// The same, with its slot among the requests that wait for people.
fn push_waiting(
    txn: &mut Txn<'_>,
    grant: &Grant,
    due: Timestamp,
    key: Option<RecentKey>,
    slot: Option<Slot>,
) {
    if let Some(key) = key {
        txn.remember(key, grant.id.row());
    }
    txn.effects.push(Effect::Live {
        id: grant.id,
        session: grant.session.row(),
        phase: grant.state.phase(),
        due,
        target: (grant.scope.upstream.clone(), grant.scope.resource.clone()),
        delivery: grant.delivery,
        key,
        slot,
    });
}

/// The phase that stood in the way.
pub(super) fn conflict(txn: &mut Txn<'_>, id: GrantId) -> StoreError {
    match rows::find_grant(txn.db, id) {
        Ok(grant) => StoreError::Conflict(grant.state.phase()),
        Err(error) => error,
    }
}

/// The key under which a session's request id is remembered.
pub(super) fn request_key(session: SessionId, id: Option<&RequestId>) -> Option<RecentKey> {
    id.map(|id| sha256(format!("grant\n{session}\n{}", id.as_str()).as_bytes()))
}

/// The fields that entries about a decided grant begin with.
pub(super) fn about(grant: &Grant) -> About {
    About {
        grant: grant.id,
        session: grant.session,
        agent: grant.agent.clone(),
        person: grant.person.clone(),
        chain: grant.chain.clone(),
        scope: grant.scope.clone(),
        delivery: grant.delivery,
        request_id: grant.request_id.clone(),
        decided_by: grant.decided_by.clone(),
    }
}

/// A slot for one more request that waits for people, of the session and of who is accountable for it. Those of
/// this very commit count too.
fn may_wait(txn: &Txn<'_>, session: SessionId) -> Result<Slot, StoreError> {
    let live = txn.live.read();
    let live = live.map_err(|_| StoreError::Broken("the live table is poisoned".into()))?;
    let just = txn.effects.iter().filter(|effect| match effect {
        Effect::Live { session: of, phase: Phase::Pending, .. } => *of == session.row(),
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
        | Effect::Reviewed(..) => false,
    });
    match live.pending_of(session).saturating_add(just.count()) < PENDING_OF_SESSION {
        true => live.may_wait(session).ok_or(StoreError::PendingShareUsed),
        false => Err(StoreError::TooManyPending(PENDING_OF_SESSION)),
    }
}

/// Whom a grant goes to.
pub(super) fn holder(grant: &Grant) -> Holder<'_> {
    let Grant { session, agent, person, chain, .. } = grant;
    // Why without the opener: a stop for it ended the session in its own commit.
    Holder { session: Some(*session), agent, person: person.as_ref(), opener: None, chain }
}

fn from_permit(
    id: GrantId,
    permit: &Permit,
    request_id: Option<RequestId>,
    state: GrantState,
) -> Grant {
    Grant {
        id,
        session: permit.session(),
        agent: permit.agent().clone(),
        person: permit.person().cloned(),
        chain: permit.chain().clone(),
        scope: permit.scope().clone(),
        delivery: permit.delivery(),
        ttl: permit.ttl(),
        reason: permit.reason().clone(),
        request_id,
        decided_by: permit.decided_by().clone(),
        requested: permit.decided(),
        renewals: 0,
        entry: None,
        state,
    }
}

fn insert(txn: &mut Txn<'_>, grant: &Grant, issue: Option<&IssueRecord>) -> Result<(), StoreError> {
    txn.keep_mark_below(grant.id.row())?;
    txn.run(
        "INSERT INTO grants VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,NULL,?15,?16)",
        params![
            int(grant.id.row().get()),
            grant.id.tag().0,
            int(grant.session.row().get()),
            rows::phase_number(grant.state.phase()),
            rows::text(&grant.state)?,
            rows::text(&grant.scope)?,
            grant.ttl.seconds(),
            rows::text(&grant.reason)?,
            grant.request_id.as_ref().map(RequestId::as_str),
            rows::text(&grant.decided_by)?,
            grant.requested.millis(),
            grant.renewals,
            issue.and_then(|issue| issue.sealed.as_ref()).map(|sealed| &sealed.0),
            issue.map(|issue| issue.dies.millis()),
            grant.entry.map(int),
            rows::delivery_number(grant.delivery),
        ],
    )?;
    Ok(())
}

fn found(txn: &mut Txn<'_>, row: Row) -> Result<Grant, StoreError> {
    let sql = format!(
        "SELECT {} FROM grants g JOIN session s ON s.row = g.session WHERE g.row = ?1",
        rows::GRANT
    );
    let result = txn.db.query_row(&sql, [int(row.get())], rows::grant);
    txn.checked(result)
}
