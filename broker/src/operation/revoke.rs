//! Gives grants back, and takes them back.

use jeton_domain::{
    grant::Grant,
    id::GrantId,
    principal::Role,
    revocation::{Matching, UpstreamRevocation},
    session::Words,
};

use super::{Broker, Caller, Refusal};
use crate::store::Ending;

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

/// Takes back all that matches. A session's holder and opener may do so for that session, an
/// operator for everything.
///
/// # Errors
/// When the caller may not, or it can't be recorded.
pub async fn revoke_matching(
    broker: &Broker,
    caller: &Caller,
    matching: Matching,
    reason: Words,
) -> Result<Vec<Grant>, Refusal> {
    match &matching {
        Matching::Session(id) => {
            let record = broker.store.session(*id).await?;
            if !caller.may_end(&record.session) {
                return Err(Refusal::NotFound("session"));
            }
        }
        Matching::Agent(_)
        | Matching::Person(_)
        | Matching::Resource(..)
        | Matching::Upstream(_)
        | Matching::All => {
            if !caller.principal.has(Role::Operator) {
                return Err(Refusal::Forbidden(
                    "revoking beyond one session needs the role operator; ask for `session`, or ask an operator",
                ));
            }
        }
    }
    let by = caller.principal.id.clone();
    let revoked = broker.store.revoke_matching(matching, by, reason, broker.clock.now()).await?;
    broker.metrics.revoked(revoked.len());
    broker.revocations.notify_one();
    Ok(revoked)
}

/// How many of these the upstream has yet to confirm.
#[must_use]
pub fn upstream_pending(grants: &[Grant]) -> usize {
    let open = |grant: &&Grant| {
        matches!(
            grant.state.upstream(),
            Some(UpstreamRevocation::Pending { .. } | UpstreamRevocation::Unreachable { .. })
        )
    };
    grants.iter().filter(open).count()
}

async fn end(broker: &Broker, id: GrantId, ending: Ending) -> Result<Grant, Refusal> {
    let ended = broker.store.end_grant(id, ending, broker.clock.now()).await?;
    if ended.changed {
        broker.metrics.revoked(1);
        broker.revocations.notify_one();
    }
    Ok(ended.grant)
}
