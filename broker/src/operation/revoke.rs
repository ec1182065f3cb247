//! Gives grants back, and takes them back: one, or all that matches, until somebody lifts it.

use std::{sync::Arc, time::Duration};

use jeton_domain::{
    grant::Grant,
    id::GrantId,
    principal::Role,
    revocation::{Matching, Stops, UpstreamRevocation},
    session::{Binding, Words},
    ttl::Timestamp,
};
use tokio::time::{Instant, sleep_until};

use super::{Broker, Caller, Refusal, introspect::verified};
use crate::{
    limits::REVOKE_WAIT,
    store::{Cut, Ending, Order},
};

/// Time between two looks at what upstreams said.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Grants that are looked at in one go.
const LOOKED_AT: usize = 100;

/// Gives a grant of the caller's own session back. Giving it back again changes nothing.
///
/// # Errors
/// When it is not the session's, or can't be recorded.
pub async fn release(broker: &Broker, caller: &Caller, id: GrantId) -> Result<Grant, Refusal> {
    let record = caller.session()?;
    let grant = broker.store.grant(id).await?;
    if grant.session != record.session.id {
        return Err(Refusal::NotFound("grant"));
    }
    end(broker, id, Ending::Released).await
}

/// Takes one grant back: refused from the next request on. Taking it back again changes nothing.
///
/// # Errors
/// When there is no such grant for this caller, or it can't be recorded.
pub async fn revoke(
    broker: &Broker,
    caller: &Caller,
    id: GrantId,
    reason: Words,
) -> Result<Grant, Refusal> {
    let grant = broker.store.grant(id).await?;
    let record = broker.store.session(grant.session).await?;
    if !caller.may_end(&record.session) {
        return Err(Refusal::NotFound("grant"));
    }
    end(broker, id, Ending::Revoked { by: caller.principal.id.clone(), reason }).await
}

/// Takes back the grant of a token that the broker signed. Whoever holds the key that the token is
/// bound to may, and whoever may revoke its grant. Nothing happens for a text that is no live token.
///
/// # Errors
/// When the token is somebody else's, or it can't be recorded.
pub async fn revoke_token(broker: &Broker, caller: &Caller, token: &str) -> Result<(), Refusal> {
    let now = broker.clock.now();
    let Some((_, claims)) = verified(broker, token, now) else { return Ok(()) };
    let grant = broker.store.grant(claims.grant).await?;
    let record = broker.store.session(grant.session).await?;
    let binding = record.session.binding;
    let holds = binding != Binding::Bearer && binding.is_proved_by(&caller.principal.keys);
    if !holds && !caller.may_end(&record.session) {
        return Err(Refusal::Forbidden(
            "the token is bound to another key, and you did not open its session",
        ));
    }
    let by = caller.principal.id.clone();
    let reason = Words::new("its token was revoked");
    end(broker, grant.id, Ending::Revoked { by, reason }).await.map(|_| ())
}

/// Takes back all that matches. A session's holder and opener may do so for that session and for
/// what is below it, an operator for everything.
///
/// # Errors
/// When the caller may not, or it can't be recorded.
pub async fn revoke_matching(
    broker: &Broker,
    caller: &Caller,
    matching: Matching,
    reason: Words,
    stop: bool,
) -> Result<Cut, Refusal> {
    if stop && matches!(matching, Matching::Session(_) | Matching::Policy(_)) {
        return Err(Refusal::Invalid {
            field: "stop",
            message: "a session that is revoked never comes back, and a policy is stopped by changing it; stop an agent, a person, a resource, an upstream or all".into(),
        });
    }
    may_revoke(broker, caller, &matching, stop).await?;
    let matching = broker.canonical(matching);
    let people = Arc::clone(broker.policies.current().catalogue().people());
    let by = caller.principal.id.clone();
    let order = Order { by, reason, stop, opened_until: None, people };
    let cut = broker.store.revoke_matching(matching, order, broker.clock.now()).await?;
    broker.metrics.revoked(cut.grants.len());
    broker.revocations.notify_one();
    Ok(cut)
}

async fn may_revoke(
    broker: &Broker,
    caller: &Caller,
    matching: &Matching,
    stop: bool,
) -> Result<(), Refusal> {
    match matching {
        Matching::Session(id) if !stop => {
            let record = broker.store.session(*id).await?;
            if caller.may_end(&record.session) { Ok(()) } else { Err(Refusal::NotFound("session")) }
        }
        Matching::Session(_)
        | Matching::Agent(_)
        | Matching::Person(_)
        | Matching::Resource(..)
        | Matching::Upstream(_)
        | Matching::Policy(_)
        | Matching::All => operator(caller),
    }
}

/// Lifts a stop: what matches may be granted again.
///
/// # Errors
/// When the caller may not, there is no such stop, or it can't be recorded.
pub async fn lift_stop(
    broker: &Broker,
    caller: &Caller,
    matching: Matching,
    reason: Words,
) -> Result<(), Refusal> {
    operator(caller)?;
    let (by, now) = (caller.principal.id.clone(), broker.clock.now());
    // Why looked up: it may have been ordered under another of a person's names.
    let stops = broker.stops()?;
    let same = stops.iter().find(|stop| stop.matching.is_same(&matching, stops.people()));
    let matching = same.map_or(matching, |stop| stop.matching.clone());
    match broker.store.lift_stop(matching, by, reason, now).await? {
        true => Ok(()),
        false => Err(Refusal::NotFound("stop")),
    }
}

/// What is stopped.
///
/// # Errors
/// When the caller may not see everything.
pub fn stops(broker: &Broker, caller: &Caller) -> Result<Arc<Stops>, Refusal> {
    if caller.sees_all() {
        broker.stops()
    } else {
        Err(Refusal::Forbidden("seeing what is stopped needs the role operator or auditor"))
    }
}

fn operator(caller: &Caller) -> Result<(), Refusal> {
    if caller.principal.has(Role::Operator) {
        return Ok(());
    }
    Err(Refusal::Forbidden(
        "revoking beyond one session needs the role operator; ask for `session`, or ask an operator",
    ))
}

/// What upstreams said of grants that were taken back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpstreamSays {
    /// No longer accepted, as was seen.
    pub confirmed: usize,
    /// Not confirmed yet.
    pub pending: usize,
    /// Nobody can tell the upstream.
    pub unsupported: usize,
    /// When the last of both dies by itself at the latest.
    pub until: Option<Timestamp>,
}

impl UpstreamSays {
    /// Sums up.
    #[must_use]
    pub fn of(grants: &[Grant]) -> Self {
        let mut says = Self::default();
        for grant in grants {
            match grant.state.upstream() {
                Some(UpstreamRevocation::Pending { until }) => {
                    says.pending = says.pending.saturating_add(1);
                    says.until = says.until.max(Some(until));
                }
                Some(UpstreamRevocation::Unreachable { until }) => {
                    says.unsupported = says.unsupported.saturating_add(1);
                    says.until = says.until.max(Some(until));
                }
                Some(UpstreamRevocation::Confirmed { .. }) => {
                    says.confirmed = says.confirmed.saturating_add(1);
                }
                Some(UpstreamRevocation::NotNeeded) | None => {}
            }
        }
        says
    }
}

/// Waits until upstreams confirmed what was taken back, a bounded time, and tells how it stands.
///
/// # Errors
/// When the store can't be read.
pub async fn settled(
    broker: &Broker,
    caller: &Caller,
    mut grants: Vec<Grant>,
    most: Duration,
) -> Result<Vec<Grant>, Refusal> {
    let over = Instant::now() + most.min(REVOKE_WAIT);
    // Why bounded: whoever waits holds a place for revocations.
    let Some(_slot) = broker.waiting.take(&caller.subject) else { return Ok(grants) };
    while grants.iter().any(open) && Instant::now() < over {
        sleep_until(over.min(Instant::now() + LOOK_AGAIN)).await;
        for grant in grants.iter_mut().filter(|grant| open(grant)).take(LOOKED_AT) {
            *grant = broker.store.grant(grant.id).await?;
        }
        // Why: others come first in the next round, so that none hides what is behind it.
        let looked = LOOKED_AT.min(grants.len());
        grants.rotate_left(looked);
    }
    Ok(grants)
}

/// Whether its upstream may still confirm. One that can't be told never will.
fn open(grant: &Grant) -> bool {
    matches!(grant.state.upstream(), Some(UpstreamRevocation::Pending { .. }))
}

async fn end(broker: &Broker, id: GrantId, ending: Ending) -> Result<Grant, Refusal> {
    let ended = broker.store.end_grant(id, ending, broker.clock.now()).await?;
    if ended.changed {
        broker.metrics.revoked(1);
        broker.revocations.notify_one();
    }
    Ok(ended.grant)
}
