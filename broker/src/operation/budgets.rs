//! How much is left of budgets: told before they bite, and looked at before people are asked.

use std::sync::PoisonError;

use jeton_domain::{
    budget::{Budget, OverBudget, Spend, Used, all_spends, spends, spends_of_call},
    decision::{Delivery, GrantRequest, Rules},
    id::SessionId,
    scope::{Scope, ScopeBound},
    session::{Session, Words},
    ttl::Timestamp,
};

use super::{Broker, Caller, Refusal, request_grant::spent};
use crate::store::SessionRecord;

/// Counts a call through the gateway.
///
/// # Errors
/// When a budget is spent: recorded as a refusal.
pub(super) async fn call(
    broker: &Broker,
    record: &SessionRecord,
    scope: &Scope,
) -> Result<(), Refusal> {
    let request = GrantRequest {
        scope: scope.clone(),
        ttl: None,
        delivery: Delivery::Gateway,
        deed: None,
        reason: Words::default(),
    };
    let rules = broker.policies.current();
    let spends = spends_of_call(rules.budgets(), &record.session, &request);
    if spends.is_empty() {
        return Ok(());
    }
    let now = broker.clock.now();
    let counted = {
        let mut calls = broker.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.take(&spends, now)
    };
    match counted {
        Ok(()) => Ok(()),
        Err(over) => spent(broker, record, &request, over, now).await.map(|_| ()),
    }
}

/// What one budget has left for somebody.
pub struct Left {
    /// The budget.
    pub budget: Budget,
    /// Whose.
    pub whom: String,
    /// What is used.
    pub used: Used,
    /// Calls that were made in the time.
    pub calls: u32,
}

/// What a session has left.
pub struct Means {
    /// Grants of its envelope that are used.
    pub used: u32,
    /// All of them.
    pub most: u32,
    /// Budgets that the scope would spend from.
    pub budgets: Vec<Left>,
}

/// Sees whether a request is within its budgets. Only a look: the commit that records the grant decides.
///
/// # Errors
/// When one is spent.
pub(super) fn room(
    broker: &Broker,
    rules: &dyn Rules,
    record: &SessionRecord,
    request: &GrantRequest,
    now: Timestamp,
) -> Result<(), OverBudget> {
    let spends = spends(rules.budgets(), &record.session, request);
    let used = broker.store.used(&spends, now);
    spends.iter().zip(used).try_for_each(|(spend, used)| spend.room(used))
}

/// Tells whether a session may ever be granted a scope. A budget counts no refs, so of a line that names
/// refs they need not be asked for.
fn within(session: &Session, scope: &Scope) -> bool {
    let lines = session.envelope.scopes().iter();
    let line = |line: &ScopeBound| ScopeBound { git_ref: None, ..line.clone() };
    lines.map(line).any(|line| line.allows(scope))
}

/// Tells what is left for grants of one scope in a session: the caller's own, or one that it may see.
/// Nobody but those who see everything hears of what lies outside its envelope: the counts are others' work.
///
/// # Errors
/// When there is no such session for this caller.
pub async fn means(
    broker: &Broker,
    caller: &Caller,
    id: Option<SessionId>,
    scope: Scope,
) -> Result<Means, Refusal> {
    let record = match (id, &caller.session) {
        (Some(id), _) => broker.store.session(id).await?,
        (None, Some(own)) => std::sync::Arc::clone(own),
        (None, None) => return Err(Refusal::NoHandle),
    };
    if !caller.may_see(&record.session) {
        return Err(Refusal::NotFound("session"));
    }
    if !caller.sees_all() && !within(&record.session, &scope) {
        return Err(Refusal::Forbidden(
            "the scope lies outside the session's envelope, and what is left of it is shown to operators and auditors alone; ask about what the session may be granted",
        ));
    }
    let request = GrantRequest {
        scope,
        ttl: None,
        delivery: Delivery::Direct,
        deed: None,
        reason: Words::default(),
    };
    let rules = broker.policies.current();
    let now = broker.clock.now();
    let spends = all_spends(rules.budgets(), &record.session, &request);
    let used = broker.store.used(&spends, now);
    let left = |(spend, used): (Spend, Used)| Left {
        budget: (*spend.budget).clone(),
        calls: broker.calls.lock().unwrap_or_else(PoisonError::into_inner).used(&spend, now),
        whom: spend.whom,
        used,
    };
    Ok(Means {
        used: broker.store.grants_used(record.session.id).await?,
        most: record.session.envelope.max_grants(),
        budgets: spends.into_iter().zip(used).map(left).collect(),
    })
}
