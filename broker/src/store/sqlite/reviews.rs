//! Steps on reviews: due from the commit in which a request begins to wait, answered once.

use std::{collections::BTreeSet, sync::Arc};

use jeton_domain::{
    audit::{Event, Subject},
    grant::Grant,
    id::{GrantId, Row, SessionId},
    review::{Beyond, Review, Reviewed, ReviewerName, Verdict},
    session::Words,
    ttl::Timestamp,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    approvals, endings,
    live::{Effect, Live},
    rows,
    schema::broken,
    writer::{Txn, int},
};
use crate::store::{Ending, ReviewDraft, ReviewOutcome, StoreError};

/// Reads the reviews of what waits, and how many yes each reviewer gave in each open session.
pub(super) fn read(db: &Connection, live: &Live) -> Result<Vec<Effect>, StoreError> {
    let name = |text: String| {
        ReviewerName::parse(&text).map_err(|error| StoreError::Broken(error.to_string()))
    };
    let mut effects = Vec::new();
    let mut statement =
        db.prepare("SELECT grant_row, reviewer, answer FROM review").map_err(broken)?;
    let kept = statement
        .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)))
        .map_err(broken)?;
    for item in kept {
        let (row, reviewer, answer): (i64, String, Option<String>) = item.map_err(broken)?;
        let answer = answer.map(|text| serde_json::from_str(&text)).transpose();
        let answer: Option<Reviewed> = answer
            .map_err(|error| StoreError::Broken(format!("a review can't be read: {error}")))?;
        // Why perhaps none: a grant that waits no more has none left.
        let row = u64::try_from(row).ok().and_then(Row::new);
        if let Some(id) = row.and_then(|row| live.waiting(row)) {
            effects
                .push(Effect::Review(id, Arc::new(Review { reviewer: name(reviewer)?, answer })));
        }
    }
    let mut statement =
        db.prepare("SELECT session, reviewer, given FROM reviewed").map_err(broken)?;
    let counts = statement
        .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)))
        .map_err(broken)?;
    for item in counts {
        let (row, reviewer, given): (i64, String, u32) = item.map_err(broken)?;
        if let Some(session) = u64::try_from(row).ok().and_then(Row::new) {
            effects.push(Effect::Reviewed(session, name(reviewer)?, given));
        }
    }
    Ok(effects)
}

/// Makes the reviews of a request due, in the commit in which it begins to wait.
pub(super) fn due(
    txn: &mut Txn<'_>,
    grant: &Grant,
    reviewers: BTreeSet<ReviewerName>,
) -> Result<(), StoreError> {
    for reviewer in reviewers {
        txn.run(
            "INSERT INTO review VALUES (?1, ?2, NULL)",
            params![int(grant.id.row().get()), reviewer.as_str()],
        )?;
        txn.effects.push(Effect::Review(grant.id, Arc::new(Review { reviewer, answer: None })));
    }
    Ok(())
}

/// Records what came of asking a reviewer: once, and all that follows from it in the same commit.
pub(super) fn record(
    txn: &mut Txn<'_>,
    draft: ReviewDraft,
    now: Timestamp,
) -> Result<(), StoreError> {
    txn.room()?;
    let grant = rows::find_grant(txn.db, draft.grant)?;
    let at = now.max(txn.head.at);
    match state(txn, grant.id, &draft.reviewer)? {
        Some(State::Answered) => return Ok(()),
        Some(State::Due) if approvals::waits(&grant, at).is_ok() => {}
        // Why recorded all the same: it was asked, and the log tells what came of that.
        Some(State::Due) | None => {
            let cause = Words::new("nobody waits for it any more");
            return note(txn, &grant, &draft, &escalated(&draft, cause, at), now);
        }
    }
    let given = given(txn, grant.session, &draft.reviewer)?;
    let outcome = match draft.outcome.clone() {
        ReviewOutcome::Approve(_) | ReviewOutcome::Narrow { .. }
            if draft.most.is_some_and(|most| given >= most) =>
        {
            let most = draft.most.unwrap_or_default();
            ReviewOutcome::Escalate(Some(Words::new(&Beyond::Count(most).to_string())))
        }
        outcome @ (ReviewOutcome::Approve(_)
        | ReviewOutcome::Narrow { .. }
        | ReviewOutcome::Escalate(_)) => outcome,
    };
    let verdict = match &outcome {
        ReviewOutcome::Approve(_) => Verdict::Approve,
        ReviewOutcome::Narrow { .. } => Verdict::Narrow,
        ReviewOutcome::Escalate(_) => Verdict::Escalate,
    };
    let (reason, cause) = (draft.reason.clone(), outcome.cause().cloned());
    let reviewed = Reviewed { verdict, reason, cause, at };
    note(txn, &grant, &draft, &reviewed, now)?;
    txn.run(
        "UPDATE review SET answer = ?3 WHERE grant_row = ?1 AND reviewer = ?2 AND answer IS NULL",
        params![int(grant.id.row().get()), draft.reviewer.as_str(), rows::text(&reviewed)?],
    )?;
    let review = Review { reviewer: draft.reviewer.clone(), answer: Some(reviewed) };
    txn.effects.push(Effect::Review(grant.id, Arc::new(review)));
    match outcome {
        ReviewOutcome::Escalate(_) => return Ok(()),
        ReviewOutcome::Approve(approval) => {
            approvals::insert(txn, &grant, approval, now)?;
        }
        ReviewOutcome::Narrow { approval, words } => {
            let by = approval.by.clone();
            endings::end(txn, grant.id, Ending::Rejected { by, reason: words }, now)?;
            // Why behind the end: that takes away what answered the request.
            approvals::insert(txn, &grant, approval, now)?;
        }
    }
    let given = given.saturating_add(1);
    txn.run(
        "INSERT INTO reviewed VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET given = excluded.given",
        params![int(grant.session.row().get()), draft.reviewer.as_str(), given],
    )?;
    txn.effects.push(Effect::Reviewed(grant.session.row(), draft.reviewer, given));
    Ok(())
}

fn escalated(draft: &ReviewDraft, cause: Words, at: Timestamp) -> Reviewed {
    let reason = draft.reason.clone();
    Reviewed { verdict: Verdict::Escalate, reason, cause: Some(cause), at }
}

fn note(
    txn: &mut Txn<'_>,
    grant: &Grant,
    draft: &ReviewDraft,
    reviewed: &Reviewed,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = Event::ReviewAnswered {
        of: Subject::of(grant),
        by: draft.reviewer.principal().clone(),
        verdict: reviewed.verdict,
        reason: reviewed.reason.clone(),
        request_hash: draft.request_hash.clone(),
        inputs: draft.inputs.clone(),
        answer: draft.answer.clone(),
        cause: reviewed.cause.clone(),
    };
    txn.append(event, now).map(|_| ())
}

enum State {
    Due,
    Answered,
}

fn state(
    txn: &mut Txn<'_>,
    id: GrantId,
    reviewer: &ReviewerName,
) -> Result<Option<State>, StoreError> {
    let sql = "SELECT answer IS NULL FROM review WHERE grant_row = ?1 AND reviewer = ?2";
    let key = params![int(id.row().get()), reviewer.as_str()];
    let result = txn.db.query_row(sql, key, |row| row.get::<_, bool>(0)).optional();
    Ok(txn.checked(result)?.map(|due| if due { State::Due } else { State::Answered }))
}

fn given(
    txn: &mut Txn<'_>,
    session: SessionId,
    reviewer: &ReviewerName,
) -> Result<u32, StoreError> {
    let sql = "SELECT given FROM reviewed WHERE session = ?1 AND reviewer = ?2";
    let key = params![int(session.row().get()), reviewer.as_str()];
    let result = txn.db.query_row(sql, key, |row| row.get::<_, u32>(0)).optional();
    Ok(txn.checked(result)?.unwrap_or_default())
}

/// Forgets the reviews of a request that waits no more. Memory follows from that.
pub(super) fn drop_of(txn: &mut Txn<'_>, id: GrantId) -> Result<(), StoreError> {
    txn.run("DELETE FROM review WHERE grant_row = ?1", [int(id.row().get())]).map(|_| ())
}

/// Forgets what reviewers gave in a session that is over. Memory follows from the session's end.
pub(super) fn drop_session(txn: &mut Txn<'_>, id: SessionId) -> Result<(), StoreError> {
    txn.run("DELETE FROM reviewed WHERE session = ?1", [int(id.row().get())]).map(|_| ())
}
