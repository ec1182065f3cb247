//! How much is left of budgets: told before they bite, and looked at before people are asked.

use jeton_domain::{
    budget::{Budget, OverBudget, Spend, Used, spends},
    decision::{Delivery, GrantRequest, Rules},
    id::SessionId,
    scope::Scope,
    session::Words,
    ttl::Timestamp,
};

use super::{Broker, Caller, Refusal};
use crate::store::SessionRecord;

/// What one budget has left for somebody.
pub struct Left {
    /// The budget.
    pub budget: Budget,
    /// Whose.
    pub whom: String,
    /// What is used.
    pub used: Used,
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

/// Tells what is left for grants of one scope in a session: the caller's own, or one that it may see.
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
    let request = GrantRequest {
        scope,
        ttl: None,
        delivery: Delivery::Direct,
        deed: None,
        reason: Words::default(),
    };
    let rules = broker.policies.current();
    let spends = spends(rules.budgets(), &record.session, &request);
    let used = broker.store.used(&spends, broker.clock.now());
    let left = |(spend, used): (Spend, Used)| Left {
        budget: (*spend.budget).clone(),
        whom: spend.whom,
        used,
    };
    Ok(Means {
        used: broker.store.grants_used(record.session.id).await?,
        most: record.session.envelope.max_grants(),
        budgets: spends.into_iter().zip(used).map(left).collect(),
    })
}
