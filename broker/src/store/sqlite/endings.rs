//! Steps that end grants, and what is left to do upstream afterwards.

use jeton_domain::{
    audit::{Event, Subject},
    grant::{Grant, GrantState, Phase},
    id::GrantId,
    people::People,
    principal::PrincipalId,
    revocation::{Matching, Stop, UpstreamRevocation},
    session::Words,
    ttl::{Timestamp, Ttl},
};
use rusqlite::params;

use super::{
    approvals,
    grants::{Queued, conflict, queue_sealed},
    live::Effect,
    reads, rows, sessions, stops,
    writer::{Txn, int},
};
use crate::store::{
    Cut, Ended, EndedEarly, Ending, Failure, Order, QueuedRevocation, RevocationTry, SessionEnding,
    StoreError, Unusable,
};

/// How long a credential may live that an upstream made and nobody received, in seconds.
/// Why an hour: GitHub's installation tokens, the only such kind, live that long.
const UNSEEN_SECONDS: u32 = 3600;

/// Ends a live grant; ending it again changes nothing.
pub(super) fn end(
    txn: &mut Txn<'_>,
    id: GrantId,
    ending: Ending,
    now: Timestamp,
) -> Result<Ended, StoreError> {
    let mut grant = rows::find_grant(txn.db, id)?;
    let before = grant.state.phase();
    if !before.is_live() {
        return Ok(Ended { grant, changed: false });
    }
    let at = now.max(txn.head.at);
    // Why: it was renewed since the sweep saw it.
    if matches!(ending, Ending::Expired | Ending::Lapsed)
        && grant.state.due().is_some_and(|due| due > at)
    {
        return Ok(Ended { grant, changed: false });
    }
    let next = phase_after(&ending);
    if !before.may_become(next) {
        return Err(StoreError::Conflict(before));
    }
    let Queued { sealed, dies } = queue_sealed(txn, &grant, now)?;
    let upstream = match (before, sealed, dies) {
        // Why unreachable: the mint is under way; whoever runs it queues what comes back.
        (Phase::Minting, _, _) => UpstreamRevocation::Unreachable { until: unseen_dies(at) },
        // Why also so while it is renewed: what comes of that is not known before the upstream answers.
        (_, _, dies) if is_renewing(txn, id)? => {
            UpstreamRevocation::Unreachable { until: unseen_dies(at).max(dies.unwrap_or(at)) }
        }
        (_, true, Some(until)) => UpstreamRevocation::Pending { until },
        (_, false, _) | (_, _, None) => UpstreamRevocation::NotNeeded,
    };
    let of = Subject::of(&grant);
    let (state, event) = match ending {
        Ending::Released => {
            (GrantState::Released { at, upstream }, Event::Released { of, upstream })
        }
        Ending::Expired => (GrantState::Expired { at, upstream }, Event::Expired { of, upstream }),
        Ending::Revoked { by, reason } => (
            GrantState::Revoked { at, by: by.clone(), reason: reason.clone(), upstream },
            Event::Revoked { of, by, reason, upstream },
        ),
        Ending::Lapsed => (GrantState::Lapsed { at }, Event::Lapsed { of }),
        Ending::Rejected { by, reason } => (
            GrantState::Rejected { at, by: by.clone(), reason: reason.clone() },
            Event::Rejected { of, by, reason },
        ),
    };
    write_state(txn, &mut grant, state, before)?;
    let entry = txn.append(event, now)?;
    interrupt_renewal(txn, &grant, now)?;
    if before == Phase::Pending {
        approvals::drop_of(txn, &grant)?;
    }
    let early = match dies {
        Some(dies) if dies > at => Some(early(txn, &grant, entry, dies)?),
        Some(_) | None => None,
    };
    txn.effects.push(Effect::Ended(id, early));
    Ok(Ended { grant, changed: true })
}

/// Notes that credentials of a grant look good by themselves, and are not.
fn early(
    txn: &mut Txn<'_>,
    grant: &Grant,
    entry: u64,
    dies: Timestamp,
) -> Result<EndedEarly, StoreError> {
    let early = EndedEarly { entry, grant: grant.id, session: grant.session.row(), dies };
    txn.run(
        "INSERT INTO ended VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            int(entry),
            int(grant.id.row().get()),
            grant.id.tag().0,
            int(early.session.get()),
            dies.millis(),
        ],
    )?;
    Ok(early)
}

/// Forgets grants that ended early and whose credentials are dead by themselves.
pub(super) fn forget(txn: &mut Txn<'_>, entries: Vec<u64>) -> Result<usize, StoreError> {
    for entry in &entries {
        txn.run("DELETE FROM ended WHERE entry = ?1", [int(*entry)])?;
    }
    let count = entries.len();
    txn.effects.push(Effect::Dead(entries));
    Ok(count)
}

/// Records that minting gave nothing usable, or came too late.
pub(super) fn failure(
    txn: &mut Txn<'_>,
    failure: Failure,
    now: Timestamp,
) -> Result<Grant, StoreError> {
    let Failure { grant: id, reason, upstream, unusable } = failure;
    let mut grant = rows::find_grant(txn.db, id)?;
    let at = now.max(txn.head.at);
    let upstream = match &unusable {
        Some(unusable) => {
            queue(txn, &grant, unusable, now)?;
            UpstreamRevocation::Pending { until: unusable.dies }
        }
        None => upstream,
    };
    match grant.state.phase() {
        Phase::Minting => {
            let state = GrantState::Failed { at, reason: reason.clone(), upstream };
            write_state(txn, &mut grant, state, Phase::Minting)?;
            txn.effects.push(Effect::Ended(id, None));
        }
        // A renewal that failed leaves the grant with the credential it has.
        Phase::Active => {
            txn.run("UPDATE grants SET renewing = NULL WHERE row = ?1", [int(id.row().get())])?;
        }
        ended @ (Phase::Pending
        | Phase::Released
        | Phase::Expired
        | Phase::Revoked
        | Phase::Failed
        | Phase::Lapsed
        | Phase::Rejected) => {
            // Why: a renewal that gave nothing says nothing of the credential before it.
            let upstream = match upstream {
                UpstreamRevocation::NotNeeded => before_renewal(txn, &grant, at)?,
                told @ (UpstreamRevocation::Pending { .. }
                | UpstreamRevocation::Confirmed { .. }
                | UpstreamRevocation::Unreachable { .. }) => told,
            };
            let state = grant.state.clone().with_upstream(upstream);
            write_state(txn, &mut grant, state, ended)?;
        }
    }
    txn.append(Event::MintFailed { of: Subject::of(&grant), reason, upstream }, now)?;
    Ok(grant)
}

/// Takes back all that matches, in this one commit: whole sessions, or just some grants. Until the
/// stop is lifted, if there is one, nothing that matches is granted again.
pub(super) fn revoke_matching(
    txn: &mut Txn<'_>,
    matching: &Matching,
    order: Order,
    now: Timestamp,
) -> Result<Cut, StoreError> {
    let Order { by, reason, stop, opened_until, people } = order;
    let sessions = match matching.means_sessions() {
        true => sessions::matching(txn, matching, opened_until, &people)?,
        false => Vec::new(),
    };
    if opened_until.is_some() && sessions.is_empty() {
        return Ok(Cut::default());
    }
    let asked = Event::RevocationAsked {
        matching: matching.clone(),
        by: by.clone(),
        reason: reason.clone(),
        stop,
    };
    txn.append(asked, now)?;
    if stop {
        let since = now.max(txn.head.at);
        let (matching, by, reason) = (matching.clone(), by.clone(), reason.clone());
        stops::order(txn, Stop { matching, by, reason, since })?;
    }
    if matching.means_sessions() {
        let ending = SessionEnding::Closed { by: by.clone(), reason: reason.clone() };
        let mut cut = sessions::end_all(txn, sessions, &ending, now)?;
        if *matching == Matching::All {
            // Why also: of a session that was left half by a fault there may be grants without it.
            cut.grants.extend(end_grants(txn, matching, &by, &reason, now)?);
        }
        return Ok(cut);
    }
    let grants = end_grants(txn, matching, &by, &reason, now)?;
    Ok(Cut { grants, ..Cut::default() })
}

fn end_grants(
    txn: &mut Txn<'_>,
    matching: &Matching,
    by: &PrincipalId,
    reason: &Words,
    now: Timestamp,
) -> Result<Vec<Grant>, StoreError> {
    let mut ended = Vec::new();
    for id in candidates(txn, matching)? {
        match end(txn, id, Ending::Revoked { by: by.clone(), reason: reason.clone() }, now) {
            Ok(Ended { grant, changed: true }) => ended.push(grant),
            Ok(_) | Err(StoreError::NoGrant) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ended)
}

/// Live grants that match, also those that this very commit records.
fn candidates(txn: &mut Txn<'_>, matching: &Matching) -> Result<Vec<GrantId>, StoreError> {
    if let Matching::Policy(id) = matching {
        return reads::live_by_policy(txn.db, id);
    }
    let mut ids = match txn.live.read() {
        Ok(live) => live.grants_for(matching),
        Err(_) => return Err(StoreError::Broken("the live table is poisoned".into())),
    };
    for effect in &txn.effects {
        if let Effect::Live { id, .. } = effect
            // Why no people: whole sessions are meant by them, and those are found elsewhere.
            && rows::find_grant(txn.db, *id)
                .is_ok_and(|grant| matching.means(&grant, &People::default()))
        {
            ids.push(*id);
        }
    }
    Ok(ids)
}

/// Records what a try to revoke upstream led to.
pub(super) fn revocation_try(
    txn: &mut Txn<'_>,
    queued: &QueuedRevocation,
    outcome: RevocationTry,
    now: Timestamp,
) -> Result<(), StoreError> {
    let at = match outcome {
        RevocationTry::Again { next } => {
            let changed = txn.run(
                "UPDATE revocation SET attempts = attempts + 1, next = ?2 WHERE place = ?1",
                params![queued.place, next.millis()],
            )?;
            // Why not each: a system that stays away for a day must not fill the log.
            let attempts = queued.attempts.saturating_add(1);
            if changed == 1 && attempts.is_power_of_two() {
                let of = Subject::of(&rows::find_grant(txn.db, queued.grant)?);
                txn.append(Event::UpstreamFailed { of, attempts, again: next }, now)?;
            }
            return Ok(());
        }
        RevocationTry::Done { at } => at,
    };
    if txn.run("DELETE FROM revocation WHERE place = ?1", [queued.place])? == 0 {
        return Ok(());
    }
    let upstream = UpstreamRevocation::Confirmed { at };
    let mut grant = rows::find_grant(txn.db, queued.grant)?;
    txn.append(Event::UpstreamAnswered { of: Subject::of(&grant), upstream }, now)?;
    // Why: after a renewal two credentials of one grant may wait; it is confirmed when both are gone.
    if last_queued(txn, queued.grant)?.is_none() {
        let phase = grant.state.phase();
        // Why not over the third: of another credential nobody knows whether it came to be.
        let unknown =
            matches!(grant.state.upstream(), Some(UpstreamRevocation::Unreachable { .. }));
        if !phase.is_live() && !unknown {
            let state = grant.state.clone().with_upstream(upstream);
            write_state(txn, &mut grant, state, phase)?;
        }
    }
    Ok(())
}

/// When the last credential of a grant that waits to be revoked dies by itself; `None` if none waits.
fn last_queued(txn: &mut Txn<'_>, id: GrantId) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT MAX(dies) FROM revocation WHERE grant_row = ?1";
    let row = int(id.row().get());
    let result = txn.db.query_row(sql, [row], |row| row.get::<_, Option<i64>>(0));
    Ok(txn.checked(result)?.map(Timestamp::from_millis))
}

/// What holds of the credential that a grant had before a renewal that gave nothing.
fn before_renewal(
    txn: &mut Txn<'_>,
    grant: &Grant,
    at: Timestamp,
) -> Result<UpstreamRevocation, StoreError> {
    if let Some(until) = last_queued(txn, grant.id)? {
        return Ok(UpstreamRevocation::Pending { until });
    }
    Ok(match grant.state.upstream() {
        Some(UpstreamRevocation::Unreachable { .. }) if grant.entry.is_some() => {
            UpstreamRevocation::Confirmed { at }
        }
        Some(UpstreamRevocation::Unreachable { .. }) | None => UpstreamRevocation::NotNeeded,
        Some(told) => told,
    })
}

fn is_renewing(txn: &mut Txn<'_>, id: GrantId) -> Result<bool, StoreError> {
    let sql = "SELECT renewing IS NOT NULL FROM grants WHERE row = ?1";
    let result = txn.db.query_row(sql, [int(id.row().get())], |row| row.get(0));
    txn.checked(result)
}

/// Marks renewals that a crash left open: their credentials, if any, were never seen by anyone.
pub(super) fn close_open_renewals(txn: &mut Txn<'_>, now: Timestamp) -> Result<(), StoreError> {
    let open = {
        let mut statement = txn
            .db
            .prepare("SELECT row, renewing FROM grants WHERE renewing IS NOT NULL AND row >= (SELECT value FROM mark WHERE name = 'lowest_live_grant')")
            .map_err(super::schema::broken)?;
        let rows =
            statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        rows.and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
            .map_err(super::schema::broken)?
    };
    for (row, since) in open {
        let sql = format!(
            "SELECT {} FROM grants g JOIN session s ON s.row = g.session WHERE g.row = ?1",
            rows::GRANT
        );
        let result = txn.db.query_row(&sql, [row], rows::grant);
        let grant = txn.checked(result)?;
        let until = unseen_dies(Timestamp::from_millis(since));
        let upstream = UpstreamRevocation::Unreachable { until };
        let reason = Words::new("the broker stopped while it renewed");
        txn.append(Event::MintFailed { of: Subject::of(&grant), reason, upstream }, now)?;
        txn.run("UPDATE grants SET renewing = NULL WHERE row = ?1", [row])?;
    }
    Ok(())
}

fn queue(
    txn: &mut Txn<'_>,
    grant: &Grant,
    unusable: &Unusable,
    now: Timestamp,
) -> Result<(), StoreError> {
    txn.run(
        "INSERT INTO revocation (grant_row, upstream, sealed, version, dies, attempts, next) VALUES (?1,?2,?3,?4,?5,0,?6)",
        params![
            int(grant.id.row().get()),
            grant.scope.upstream.as_str(),
            unusable.sealed.0,
            unusable.version,
            unusable.dies.millis(),
            now.millis()
        ],
    )?;
    Ok(())
}

/// Notes that a renewal was under way: its credential, if one came to be, was seen by nobody yet.
fn interrupt_renewal(txn: &mut Txn<'_>, grant: &Grant, now: Timestamp) -> Result<(), StoreError> {
    let cleared = txn.run(
        "UPDATE grants SET renewing = NULL WHERE row = ?1 AND renewing IS NOT NULL",
        [int(grant.id.row().get())],
    )?;
    if cleared == 1 {
        let reason = Words::new("the grant ended while its credential was renewed");
        let upstream = UpstreamRevocation::Unreachable { until: unseen_dies(now) };
        txn.append(Event::MintFailed { of: Subject::of(grant), reason, upstream }, now)?;
    }
    Ok(())
}

fn write_state(
    txn: &mut Txn<'_>,
    grant: &mut Grant,
    state: GrantState,
    before: Phase,
) -> Result<(), StoreError> {
    let changed = txn.run(
        "UPDATE grants SET phase = ?2, state = ?3 WHERE row = ?1 AND phase = ?4",
        params![
            int(grant.id.row().get()),
            rows::phase_number(state.phase()),
            rows::text(&state)?,
            rows::phase_number(before),
        ],
    )?;
    if changed != 1 {
        return Err(conflict(txn, grant.id));
    }
    grant.state = state;
    Ok(())
}

fn phase_after(ending: &Ending) -> Phase {
    match ending {
        Ending::Released => Phase::Released,
        Ending::Expired => Phase::Expired,
        Ending::Revoked { .. } => Phase::Revoked,
        Ending::Lapsed => Phase::Lapsed,
        Ending::Rejected { .. } => Phase::Rejected,
    }
}

fn unseen_dies(since: Timestamp) -> Timestamp {
    Ttl::from_seconds(UNSEEN_SECONDS).map_or(since, |ttl| since.plus(ttl))
}
