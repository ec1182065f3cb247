//! Looks at sessions and grants: each caller sees its own, operators and auditors see all.

use std::sync::Arc;

use jeton_domain::{
    grant::{Grant, Phase},
    id::{GrantId, SessionId},
    principal::PrincipalId,
};

use super::{Broker, Caller, Refusal};
use crate::store::{GrantFilter, PageAt, PageOf, SessionFilter, SessionPhase, SessionRecord};

/// One session, if it is the caller's to see.
///
/// # Errors
/// The same whether it does not exist or is another's.
pub async fn session(
    broker: &Broker,
    caller: &Caller,
    id: SessionId,
) -> Result<(Arc<SessionRecord>, u32), Refusal> {
    let record = broker.store.session(id).await?;
    if !caller.may_see(&record.session) {
        return Err(Refusal::NotFound("session"));
    }
    let used = broker.store.grants_used(id).await?;
    Ok((record, used))
}

/// One grant, if it is the caller's to see.
///
/// # Errors
/// The same whether it does not exist or is another's.
pub async fn grant(broker: &Broker, caller: &Caller, id: GrantId) -> Result<Grant, Refusal> {
    let grant = broker.store.grant(id).await?;
    let record = broker.store.session(grant.session).await?;
    if caller.may_see(&record.session) { Ok(grant) } else { Err(Refusal::NotFound("grant")) }
}

/// A page of sessions.
///
/// # Errors
/// When the store can't be read.
pub async fn sessions(
    broker: &Broker,
    caller: &Caller,
    agent: Option<PrincipalId>,
    state: Option<SessionPhase>,
    page: PageAt,
) -> Result<PageOf<SessionRecord>, Refusal> {
    let filter = SessionFilter { agent, state, concerning: concerning(caller) };
    Ok(broker.store.list_sessions(filter, page).await?)
}

/// Which grants to list.
pub struct GrantQuery {
    /// Of one session.
    pub session: Option<SessionId>,
    /// Of one agent.
    pub agent: Option<PrincipalId>,
    /// In one phase.
    pub phase: Option<Phase>,
}

/// A page of grants.
///
/// # Errors
/// When the session is not the caller's to see, or the store can't be read.
pub async fn grants(
    broker: &Broker,
    caller: &Caller,
    query: GrantQuery,
    page: PageAt,
) -> Result<PageOf<Grant>, Refusal> {
    let asked = query.session.or_else(|| caller.session.as_ref().map(|own| own.session.id));
    let mut filter = GrantFilter {
        session: query.session,
        agent: query.agent,
        phase: query.phase,
        concerning: None,
    };
    if !caller.sees_all() {
        match asked {
            Some(id) => {
                let record = broker.store.session(id).await?;
                if !caller.may_see(&record.session) {
                    return Err(Refusal::NotFound("session"));
                }
                filter.session = Some(id);
            }
            None => filter.concerning = concerning(caller),
        }
    }
    Ok(broker.store.list_grants(filter, page).await?)
}

fn concerning(caller: &Caller) -> Option<PrincipalId> {
    (!caller.sees_all()).then(|| caller.principal.id.clone())
}
