//! Looks at live grants again with the policies that hold now: whoever left, or lost a right, may
//! still hold a credential that nobody would give any more.

use std::collections::BTreeSet;

use jeton_domain::{
    audit::Event,
    decision::{Decision, Denial, GrantRequest, Layer, PolicyId, Rules, Standing, decide},
    grant::{Grant, GrantState},
    id::{GrantId, Row},
    principal::{PrincipalId, Role},
    session::Words,
    ttl::{Timestamp, Ttl},
};

use super::{Broker, Caller, Refusal};
use crate::store::{Ending, StoreError};

/// Grants that are looked at in one go. Why: each costs a decision, and others want the processor too.
const AT_ONCE: usize = 64;
/// Grants of one page.
const PAGE: usize = 20_000;
/// Refused grants that one page tells of.
const TOLD: usize = 500;

/// What happens to a grant that would not be given any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is told.
    Report,
    /// It is taken back.
    Revoke,
}

/// A grant that would not be given any more.
pub struct Lost {
    /// The grant as it is now.
    pub grant: Grant,
    /// Which layer refuses it.
    pub layer: Layer,
    /// Why.
    pub reason: String,
    /// Policies that refuse it.
    pub policies: Vec<PolicyId>,
}

/// What a look found.
pub struct Looked {
    /// Grants that were looked at.
    pub at: u64,
    /// Those that would not be given any more.
    pub lost: Vec<Lost>,
    /// Where to go on; `None` at the end.
    pub next: Option<Row>,
    /// Hash of the policies that decided.
    pub policy_hash: String,
}

/// One page of live grants, decided again for whoever asks.
///
/// # Errors
/// When the caller may not, or it can't be recorded.
pub async fn re_decide(
    broker: &Broker,
    caller: &Caller,
    from: Option<Row>,
    then: Then,
) -> Result<Looked, Refusal> {
    if !caller.sees_all() {
        return Err(Refusal::Forbidden(
            "deciding grants again needs the role operator, or auditor to only look",
        ));
    }
    if then == Then::Revoke && !caller.principal.has(Role::Operator) {
        return Err(Refusal::Forbidden("taking grants back needs the role operator"));
    }
    page(broker, &caller.principal.id, from, then).await
}

/// All live grants, decided again after the policies changed.
///
/// # Errors
/// When it can't be recorded.
pub async fn re_decide_all(broker: &Broker, then: Then) -> Result<(), Refusal> {
    let by = Broker::own_name()?;
    let mut next = None;
    loop {
        let looked = page(broker, &by, next, then).await?;
        for lost in &looked.lost {
            tracing::warn!(
                grant = %lost.grant.id, agent = %lost.grant.agent, scope = %lost.grant.scope,
                reason = lost.reason, revoked = then == Then::Revoke,
                "a live grant would not be given any more"
            );
        }
        next = looked.next;
        if next.is_none() {
            return Ok(());
        }
    }
}

async fn page(
    broker: &Broker,
    by: &PrincipalId,
    from: Option<Row>,
    then: Then,
) -> Result<Looked, Refusal> {
    let rules = broker.policies.current();
    let mut looked =
        Looked { at: 0, lost: Vec::new(), next: from, policy_hash: rules.hash().to_owned() };
    let (mut refused, mut revoked) = (0_u64, 0_u64);
    for _ in 0..PAGE / AT_ONCE {
        let ids = broker.store.active_from(looked.next, AT_ONCE);
        for id in &ids {
            looked.at = looked.at.saturating_add(1);
            let Some(mut lost) = look(broker, &*rules, *id).await? else { continue };
            refused = refused.saturating_add(1);
            if then == Then::Revoke {
                let reason = Words::new(&format!("decided again: {}", lost.reason));
                let ending = Ending::Revoked { by: by.clone(), reason };
                let ended = broker.store.end_grant(*id, ending, broker.clock.now()).await?;
                revoked = revoked.saturating_add(u64::from(ended.changed));
                lost.grant = ended.grant;
            }
            looked.lost.push(lost);
        }
        looked.next = ids.last().and_then(|id| Row::new(id.row().get().saturating_add(1)));
        if looked.next.is_none() || looked.lost.len() >= TOLD {
            break;
        }
        // Why: a decision takes microseconds, and thousands of them must not hold up other callers.
        tokio::task::yield_now().await;
    }
    if refused > 0 {
        let event = Event::ReDecided {
            by: by.clone(),
            policy_hash: looked.policy_hash.clone(),
            looked_at: looked.at,
            refused,
            revoked,
        };
        broker.store.append(event, broker.clock.now()).await?;
        broker.metrics.revoked(usize::try_from(revoked).unwrap_or(usize::MAX));
        broker.revocations.notify_one();
    }
    Ok(looked)
}

/// Decides one grant again: for the rest of its time, in its session as it stands.
async fn look(
    broker: &Broker,
    rules: &(dyn Rules + Sync),
    id: GrantId,
) -> Result<Option<Lost>, Refusal> {
    let grant = match broker.store.grant(id).await {
        Ok(grant) => grant,
        Err(StoreError::NoGrant) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let now = broker.clock.now();
    let GrantState::Active { until } = grant.state else { return Ok(None) };
    let Some(ttl) = rest(until, now) else { return Ok(None) };
    let record = broker.store.session(grant.session).await?;
    let stops = broker.stops()?;
    let standing = Standing {
        session: &record.session,
        state: &record.state,
        approvals: &BTreeSet::new(),
        approved_by: &[],
        stops: &stops,
        issuers: &broker.issuers,
        now,
    };
    let request = GrantRequest {
        scope: grant.scope.clone(),
        ttl: Some(ttl),
        delivery: grant.delivery,
        deed: None,
        reason: grant.reason.clone(),
    };
    Ok(match decide(rules, standing, &request) {
        Decision::Permit(_) => None,
        // Why: an approval holds as long as the policies do that it was given under.
        Decision::NeedsApproval { .. }
            if !grant.decided_by.approvals.is_empty()
                && rules.hash() == &*grant.decided_by.policy_hash =>
        {
            None
        }
        Decision::NeedsApproval { decided_by, .. } => Some(Lost {
            grant,
            layer: Layer::Policy,
            reason: "a person would have to approve it now".to_owned(),
            policies: decided_by.policies,
        }),
        Decision::Deny(Denial { layer, reason, decided_by, .. }) => {
            Some(Lost { grant, layer, reason, policies: decided_by.policies })
        }
    })
}

/// What is left of a time, in whole seconds.
pub(super) fn rest(until: Timestamp, now: Timestamp) -> Option<Ttl> {
    let left = until.millis().saturating_sub(now.millis()).div_euclid(1000);
    u32::try_from(left).ok().and_then(Ttl::from_seconds)
}
