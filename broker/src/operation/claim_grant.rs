//! What an agent does with a request that waited: it asks how it stands, and gets the credential once
//! people approved it.

use std::{sync::Arc, time::Duration};

use jeton_domain::{
    approval::{Guard, request_hash},
    decision::{Decision, Delivery, Denial, GrantRequest, PolicyId, Rules},
    grant::{Grant, GrantState, Phase},
    id::GrantId,
    permit::Permit,
    session::Words,
    ttl::{Timestamp, Ttl},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    Broker, Caller, Refusal, Source,
    lift::decide_lifted,
    line::{Line, unknown},
    re_decide::rest,
    request_grant::{
        Granted, confirmation, deny, mint_recorded, repeat_minted, repeat_signed, spent,
    },
};
use crate::{
    capacity::SlotHolder,
    limits::STREAM_PAUSE,
    store::{Ending, SessionRecord, StoreError},
    upstream::Local,
};

/// Longest time between two looks at a grant that waits.
const LOOK: Duration = Duration::from_secs(1);

/// Tells how a grant of the caller's session stands, with its credential once it is active.
///
/// # Errors
/// When it is not the session's, or is refused now.
pub async fn claim(broker: &Arc<Broker>, caller: &Caller, id: GrantId) -> Result<Granted, Refusal> {
    let record = caller.session()?;
    let grant = broker.store.grant(id).await?;
    if grant.session != record.session.id {
        return Err(Refusal::NotFound("grant"));
    }
    if grant.state.phase() != Phase::Pending {
        return answered(broker, record, grant).await;
    }
    match waiting(broker, record, &grant, &caller.subject).await {
        // Somebody claimed it, or ended it, in between.
        Err(Refusal::State(_)) if !broker.store.is_pending(id) => {
            answered(broker, record, broker.store.grant(id).await?).await
        }
        other => other,
    }
}

/// What has become of a grant that waits no more.
async fn answered(
    broker: &Broker,
    record: &SessionRecord,
    grant: Grant,
) -> Result<Granted, Refusal> {
    match &grant.state {
        GrantState::Active { until } => {
            if let Some(denial) = denied_now(broker, record, &grant, *until)? {
                let now = broker.clock.now();
                return deny(broker, record, &request_of(&grant, None), denial, now).await;
            }
        }
        GrantState::Minting { .. } => return Err(Refusal::InProgress),
        GrantState::Pending { .. }
        | GrantState::Released { .. }
        | GrantState::Expired { .. }
        | GrantState::Revoked { .. }
        | GrantState::Failed { .. }
        | GrantState::Lapsed { .. }
        | GrantState::Rejected { .. } => return Ok(Granted { grant, credential: None }),
    }
    let issued = broker.store.issued(grant.id).await?;
    match broker.source(&grant.scope.upstream)? {
        Source::Signed(minter) => {
            let confirmation = confirmation(record, grant.delivery);
            repeat_signed(&**minter, issued, confirmation, broker.clock.now())
        }
        Source::Kept(key) => repeat_signed(&**key, issued, None, broker.clock.now()),
        Source::Minted(_) => repeat_minted(broker, issued).await,
    }
}

/// Why a credential is not handed out once more, if today's policies deny its delivery.
///
/// Why no approval is wanted: the grant was approved, and that was used up.
fn denied_now(
    broker: &Broker,
    record: &SessionRecord,
    grant: &Grant,
    until: Timestamp,
) -> Result<Option<Denial>, Refusal> {
    let now = broker.clock.now();
    let (Delivery::Direct, Some(left)) = (grant.delivery, rest(until, now)) else {
        return Ok(None);
    };
    let rules = broker.policies.current();
    let request = request_of(grant, Some(left));
    match decide_lifted(broker, &rules, record, &request, None, now)? {
        Decision::Deny(denial) => Ok(Some(denial)),
        Decision::Permit(_) | Decision::NeedsApproval { .. } => Ok(None),
    }
}

/// What a grant was requested for.
fn request_of(grant: &Grant, ttl: Option<Ttl>) -> GrantRequest {
    GrantRequest {
        scope: grant.scope.clone(),
        ttl,
        delivery: grant.delivery,
        deed: None,
        reason: grant.reason.clone(),
    }
}

/// Decides a grant that waits again: with its approvals, and with the policies that hold now.
async fn waiting(
    broker: &Arc<Broker>,
    record: &SessionRecord,
    grant: &Grant,
    subject: &SlotHolder,
) -> Result<Granted, Refusal> {
    broker.halt.is_off()?;
    let GrantState::Pending { guards, until } = &grant.state else {
        return Err(Refusal::InProgress);
    };
    let now = broker.clock.now();
    if *until <= now {
        return Err(StoreError::Conflict(Phase::Lapsed).into());
    }
    let source = broker.source(&grant.scope.upstream)?;
    let rules = broker.policies.current();
    let hash = request_hash(grant, guards, source.kind().word());
    let request = request_of(grant, Some(grant.ttl));
    let changed = rules.hash() != &*grant.decided_by.policy_hash;
    let asked = (!changed).then_some((grant.id, &hash));
    let permit = match decide_lifted(broker, &rules, record, &request, asked, now)? {
        Decision::Permit(permit) => permit,
        Decision::NeedsApproval { guards: now, .. } if !changed && ids(&now) == ids(guards) => {
            return Ok(Granted { grant: grant.clone(), credential: None });
        }
        Decision::NeedsApproval { .. } => {
            let what = if changed { "the policies changed" } else { "what holds it changed" };
            let reason = Words::new(&format!("{what} while it waited; ask again"));
            let ending = Ending::Rejected { by: Broker::own_name()?, reason };
            let ended = broker.store.end_grant(grant.id, ending, now).await?;
            return Ok(Granted { grant: ended.grant, credential: None });
        }
        Decision::Deny(denial) => {
            return deny(broker, record, &request, denial, now).await;
        }
    };
    let granted = match source {
        Source::Signed(minter) => sign(broker, record, &**minter, grant.id, permit).await,
        Source::Kept(key) => sign(broker, record, &**key, grant.id, permit).await,
        Source::Minted(minter) => {
            let (work, minter, id) = (Arc::clone(broker), Arc::clone(minter), grant.id);
            broker
                .mints
                .run(subject, async move {
                    let recorded = work.store.record_approved_intent(id, permit).await?;
                    mint_recorded(&work, &*minter, recorded).await
                })
                .await
        }
    };
    match granted {
        // It goes on waiting: its approvals are not used up, and it may be claimed when there is room.
        Err(Refusal::OverBudget(over)) => spent(broker, record, &request, *over, now).await,
        granted => granted,
    }
}

fn ids(guards: &[Guard]) -> Vec<&PolicyId> {
    guards.iter().map(|guard| &guard.policy).collect()
}

async fn sign(
    broker: &Broker,
    record: &SessionRecord,
    minter: &dyn Local,
    id: GrantId,
    permit: Permit,
) -> Result<Granted, Refusal> {
    let minted = minter
        .make(id, &permit, confirmation(record, permit.delivery()), permit.decided())
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    let issue = broker.signed_record(&minted, &permit);
    let issued = broker.store.record_approved_signed(id, permit, issue).await?;
    let credential = minted.release(&issued);
    Ok(Granted { grant: issued.into_grant(), credential })
}

/// Tells how a grant stands, at once and each time that it stands otherwise, until it waits no more.
pub async fn wait(
    broker: &Arc<Broker>,
    caller: &Caller,
    id: GrantId,
    out: mpsc::Sender<Result<Granted, Refusal>>,
) {
    if let Err(error) = follow(broker, caller, id, &out).await {
        // Why ignored: a reader that went away wants no error.
        let _ = out.send(Err(error)).await;
    }
}

async fn follow(
    broker: &Arc<Broker>,
    caller: &Caller,
    id: GrantId,
    out: &mpsc::Sender<Result<Granted, Refusal>>,
) -> Result<(), Refusal> {
    let mut growth = broker.store.growth();
    let line = Line::new(broker, caller, out);
    let mut told = false;
    // Why by what is in memory: the log grows thousands of times a second.
    let state = || (broker.store.is_pending(id), broker.store.asked());
    while line.goes_on().await? {
        growth.borrow_and_update();
        let before = state();
        match claim(broker, caller, id).await {
            Ok(granted) => {
                let over = granted.grant.state.phase() != Phase::Pending;
                let news = over || !told;
                if news && !line.send(granted).await? {
                    return Ok(());
                }
                if over {
                    return Ok(());
                }
                told = true;
            }
            Err(Refusal::InProgress) => {}
            Err(error) => return Err(error),
        }
        let wake = Instant::now() + LOOK;
        while state() == before && Instant::now() < wake {
            tokio::time::sleep(STREAM_PAUSE).await;
            tokio::select! {
                () = line.closed() => return Ok(()),
                grown = timeout_at(wake, growth.changed()) => if let Ok(Err(_)) = grown {
                    return Err(unknown());
                },
            }
        }
    }
    Ok(())
}
