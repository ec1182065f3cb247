//! Steps on approvals: recorded once for each person, used up with what they allow.

use std::sync::Arc;

use jeton_domain::{
    approval::{Approval, Breadth},
    audit::{Event, Subject},
    grant::{Grant, GrantState, Phase},
    id::{GrantId, SessionId},
    limits::APPROVALS_OF_GRANT,
    permit::Permit,
    principal::PrincipalId,
    ttl::Timestamp,
};
use rusqlite::{Connection, params};

use super::{
    budgets, emergencies, grants,
    live::Effect,
    reviews, rows,
    schema::broken,
    sessions, stops,
    writer::{Txn, int},
};
use crate::store::{ApprovalDraft, IssueRecord, Issued, RecordedPermit, StoreError};

/// Reads the approvals that are not used up, each with how often it was used.
pub(super) fn read(db: &Connection) -> Result<Vec<(Approval, u32)>, StoreError> {
    let mut statement = db.prepare("SELECT text, used FROM approval").map_err(broken)?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)))
        .map_err(broken)?;
    rows.map(|row| {
        let (text, used) = row.map_err(broken)?;
        Ok((parse(&text)?, used))
    })
    .collect()
}

/// Records a person's yes. The same yes again gives the one recorded first.
pub(super) fn record(
    txn: &mut Txn<'_>,
    draft: ApprovalDraft,
    now: Timestamp,
) -> Result<Approval, StoreError> {
    txn.room()?;
    let grant = rows::find_grant(txn.db, draft.grant)?;
    let at = now.max(txn.head.at);
    waits(&grant, at)?;
    let known = of_grant(txn, grant.id)?;
    let alone = draft.breadth.deadline().is_some();
    // Why apart: who approved with others may still have to go alone.
    let like = |one: &&Approval| one.by == draft.by && one.breadth.deadline().is_some() == alone;
    if let Some(own) = known.iter().find(like) {
        let same = own.request_hash == draft.request_hash
            && own.groups == draft.groups
            && reach(&own.breadth) == reach(&draft.breadth);
        return if same { Ok(own.clone()) } else { Err(StoreError::AlreadyApproved) };
    }
    if known.len() >= APPROVALS_OF_GRANT {
        return Err(StoreError::AlreadyApproved);
    }
    if let Breadth::Emergency { glass, .. } = &draft.breadth {
        emergencies::check(txn, glass)?;
    }
    insert(txn, &grant, draft, now)
}

/// Records a yes: a person's, or a reviewer's.
pub(super) fn insert(
    txn: &mut Txn<'_>,
    grant: &Grant,
    draft: ApprovalDraft,
    now: Timestamp,
) -> Result<Approval, StoreError> {
    let at = now.max(txn.head.at);
    let entry = txn.next_entry();
    let approval = Approval {
        entry,
        grant: grant.id,
        session: grant.session,
        by: draft.by,
        account: draft.account,
        groups: draft.groups,
        guards: draft.guards,
        request_hash: draft.request_hash,
        policy_hash: grant.decided_by.policy_hash.to_string(),
        delivery: grant.delivery,
        breadth: draft.breadth,
        reason: draft.reason,
        at,
        until: draft.until,
    };
    txn.append(told(grant, &approval), now)?;
    txn.run(
        "INSERT INTO approval VALUES (?1,?2,?3,0,?4,?5,?6)",
        params![
            int(entry),
            int(grant.id.row().get()),
            int(grant.session.row().get()),
            approval.breadth.grants(),
            approval.until.millis(),
            rows::text(&approval)?,
        ],
    )?;
    if let Breadth::Emergency { glass, .. } = &approval.breadth {
        emergencies::keep(txn, &approval, glass)?;
    }
    txn.effects.push(Effect::Approved(Arc::new(approval.clone()), 0));
    Ok(approval)
}

fn told(grant: &Grant, approval: &Approval) -> Event {
    let of = Subject::of(grant);
    let Approval { by, request_hash, policy_hash, breadth, reason, .. } = approval.clone();
    let groups = approval.groups.iter().cloned().collect();
    let guards = approval.guards.iter().cloned().collect();
    let reaches = breadth;
    match reaches.deadline() {
        Some(_) => Event::GlassBroken {
            of,
            by,
            groups,
            guards,
            request_hash,
            policy_hash,
            reaches,
            reason,
        },
        None => {
            Event::Approved { of, by, groups, guards, request_hash, policy_hash, reaches, reason }
        }
    }
}

/// What an approval was asked to reach: the moment at which it ends follows from when it came.
fn reach(breadth: &Breadth) -> Option<(String, u32, u32)> {
    match breadth {
        Breadth::Once => None,
        Breadth::Session { within, grants, ttl, .. } => {
            Some((within.to_string(), *grants, ttl.seconds()))
        }
        Breadth::Emergency { within, grants, .. } => Some((within.to_string(), *grants, 0)),
    }
}

/// Takes a person's yes back. Tells whether there was one.
pub(super) fn withdraw(
    txn: &mut Txn<'_>,
    id: GrantId,
    whose: &PrincipalId,
    by: PrincipalId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let grant = rows::find_grant(txn.db, id)?;
    let given: Vec<_> = of_grant(txn, id)?.into_iter().filter(|one| one.by == *whose).collect();
    for one in &given {
        let (of, by) = (Subject::of(&grant), by.clone());
        txn.append(Event::ApprovalWithdrawn { of, by, approval: one.entry }, now)?;
        txn.run("DELETE FROM approval WHERE entry = ?1", [int(one.entry)])?;
        txn.effects.push(Effect::ApprovalGone(one.session.row(), one.entry));
    }
    Ok(!given.is_empty())
}

/// Forgets the approvals of a question that nobody asks any more.
pub(super) fn drop_of(txn: &mut Txn<'_>, grant: &Grant) -> Result<(), StoreError> {
    reviews::drop_of(txn, grant.id)?;
    for approval in of_grant(txn, grant.id)? {
        txn.run("DELETE FROM approval WHERE entry = ?1", [int(approval.entry)])?;
        txn.effects.push(Effect::ApprovalGone(grant.session.row(), approval.entry));
    }
    Ok(())
}

/// Forgets the approvals of a session that is over. Memory follows from the session's end.
pub(super) fn drop_session(txn: &mut Txn<'_>, id: SessionId) -> Result<(), StoreError> {
    reviews::drop_session(txn, id)?;
    txn.run("DELETE FROM approval WHERE session = ?1", [int(id.row().get())]).map(|_| ())
}

/// Sees whether approvals still hold. Changes nothing: what comes next may fail.
pub(super) fn check(txn: &mut Txn<'_>, entries: &[u64], now: Timestamp) -> Result<(), StoreError> {
    let now = now.max(txn.head.at).millis();
    for entry in entries {
        let sql = "SELECT COUNT(*) FROM approval WHERE entry = ?1 AND used < most AND until > ?2";
        let result = txn.db.query_row(sql, params![int(*entry), now], |row| row.get::<_, i64>(0));
        if txn.checked(result)? != 1 {
            return Err(StoreError::ApprovalGone);
        }
    }
    Ok(())
}

/// Uses approvals for one grant, after [`check`] in the same commit.
pub(super) fn use_up(
    txn: &mut Txn<'_>,
    session: SessionId,
    entries: &[u64],
) -> Result<(), StoreError> {
    for entry in entries {
        txn.run("UPDATE approval SET used = used + 1 WHERE entry = ?1", [int(*entry)])?;
        // Why only these: whoever gave one for the session must not give it a second time while its
        // question is still open. It goes with its session.
        let sql = "DELETE FROM approval WHERE entry = ?1 AND used >= most
            AND json_extract(text, '$.breadth.breadth') = 'once'";
        let effect = match txn.run(sql, [int(*entry)])? {
            0 => Effect::ApprovalUsed(session.row(), *entry),
            _ => Effect::ApprovalGone(session.row(), *entry),
        };
        txn.effects.push(effect);
    }
    Ok(())
}

/// Records intent and issue at once for a grant that waited and was approved.
pub(super) fn signed(
    txn: &mut Txn<'_>,
    id: GrantId,
    permit: &Permit,
    issue: IssueRecord,
) -> Result<Issued, StoreError> {
    let mut grant = approved(txn, id, permit)?;
    let until = issue.until;
    grant.state = GrantState::Active { until };
    grant.ttl = issue.ttl;
    grant.entry = Some(txn.next_entry());
    write(txn, &grant, Some(issue.dies))?;
    let (about, fingerprint) = (grants::about(&grant), issue.fingerprint);
    txn.append(Event::Issued { about, fingerprint, until }, permit.decided())?;
    grants::push_live(txn, &grant, until, None);
    Ok(Issued { grant })
}

/// Records the intent of a grant that waited and was approved.
pub(super) fn intent(
    txn: &mut Txn<'_>,
    id: GrantId,
    permit: Permit,
) -> Result<RecordedPermit, StoreError> {
    let mut grant = approved(txn, id, &permit)?;
    let since = permit.decided();
    grant.state = GrantState::Minting { since };
    grant.ttl = permit.ttl();
    write(txn, &grant, None)?;
    txn.append(Event::Intent { about: grants::about(&grant), ttl: permit.ttl() }, since)?;
    grants::push_live(txn, &grant, since, None);
    Ok(RecordedPermit { grant: id, version: 0, permit })
}

/// A grant that waits, in the commit that lets it wait no more: its session is open, nobody stopped it,
/// and its approvals hold. They are used up.
fn approved(txn: &mut Txn<'_>, id: GrantId, permit: &Permit) -> Result<Grant, StoreError> {
    txn.room()?;
    let mut grant = rows::find_grant(txn.db, id)?;
    let now = permit.decided().max(txn.head.at);
    waits(&grant, now)?;
    // Why again: a permit is for one session and one scope, and this must be that grant.
    if permit.session() != grant.session || *permit.scope() != grant.scope {
        return Err(StoreError::Conflict(Phase::Pending));
    }
    stops::check(txn, grants::holder(&grant), Some(&grant.scope))?;
    sessions::all_open(txn, grant.session, &grant.chain, now)?;
    let entries = permit.decided_by().approvals.clone();
    check(txn, &entries, now)?;
    budgets::check(txn, permit.spends(), now)?;
    use_up(txn, grant.session, &entries)?;
    budgets::spend(txn, id.row(), permit.spends(), now)?;
    reviews::drop_of(txn, id)?;
    // Those beyond the quorum.
    for rest in of_grant(txn, id)?.iter().filter(|rest| rest.breadth == Breadth::Once) {
        txn.run("DELETE FROM approval WHERE entry = ?1", [int(rest.entry)])?;
        txn.effects.push(Effect::ApprovalGone(grant.session.row(), rest.entry));
    }
    grant.decided_by = permit.decided_by().clone();
    Ok(grant)
}

fn write(txn: &mut Txn<'_>, grant: &Grant, dies: Option<Timestamp>) -> Result<(), StoreError> {
    let changed = txn.run(
        "UPDATE grants SET phase = ?2, state = ?3, ttl = ?4, decided_by = ?5, dies = ?6, entry = ?7 WHERE row = ?1 AND phase = ?8",
        params![
            int(grant.id.row().get()),
            rows::phase_number(grant.state.phase()),
            rows::text(&grant.state)?,
            grant.ttl.seconds(),
            rows::text(&grant.decided_by)?,
            dies.map(Timestamp::millis),
            grant.entry.map(int),
            rows::phase_number(Phase::Pending),
        ],
    )?;
    // Why broken: it was looked at in this very commit.
    if changed == 1 { Ok(()) } else { Err(StoreError::Broken("a grant changed by itself".into())) }
}

/// Refuses what waits no more.
pub(super) fn waits(grant: &Grant, now: Timestamp) -> Result<(), StoreError> {
    match &grant.state {
        GrantState::Pending { until, .. } if *until > now => Ok(()),
        GrantState::Pending { .. } => Err(StoreError::Conflict(Phase::Lapsed)),
        GrantState::Minting { .. }
        | GrantState::Active { .. }
        | GrantState::Released { .. }
        | GrantState::Expired { .. }
        | GrantState::Revoked { .. }
        | GrantState::Failed { .. }
        | GrantState::Lapsed { .. }
        | GrantState::Rejected { .. } => Err(StoreError::Conflict(grant.state.phase())),
    }
}

fn of_grant(txn: &mut Txn<'_>, id: GrantId) -> Result<Vec<Approval>, StoreError> {
    let result = txn
        .db
        .prepare_cached("SELECT text FROM approval WHERE grant_row = ?1 ORDER BY entry")
        .and_then(|mut statement| {
            let rows = statement.query_map([int(id.row().get())], |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
    txn.checked(result)?.iter().map(|text| parse(text)).collect()
}

fn parse(text: &str) -> Result<Approval, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Broken(format!("an approval can't be read: {error}")))
}
