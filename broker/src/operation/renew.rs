//! Replaces the credential of an active grant: decided anew, with the policy that holds now.

use std::sync::Arc;

use jeton_domain::{
    decision::{Decision, Denial, GrantRequest, Layer},
    grant::{Grant, Phase},
    id::GrantId,
    permit::Permit,
    ttl::Ttl,
};

use super::{
    Broker, Caller, Refusal, Source,
    lift::decide_lifted,
    request_grant::{Granted, Life, confirmation, deny, mint_once},
    seal::Place,
};
use crate::{
    store::{SessionRecord, StoreError},
    upstream::{Local, Minter},
};

/// Decides the same scope again and replaces the credential.
///
/// # Errors
/// When the grant is not the session's or not active, is refused now, or the upstream gives nothing.
pub async fn renew(
    broker: &Arc<Broker>,
    caller: &Caller,
    id: GrantId,
    ttl: Option<Ttl>,
) -> Result<Granted, Refusal> {
    let record = caller.session()?;
    let grant = broker.store.grant(id).await?;
    if grant.session != record.session.id {
        return Err(Refusal::NotFound("grant"));
    }
    if grant.state.phase() != Phase::Active {
        return Err(Refusal::State(format!(
            "the grant is {}; ask for a new one",
            grant.state.phase().word()
        )));
    }
    broker.halt.is_off()?;
    let request = GrantRequest {
        scope: grant.scope.clone(),
        ttl,
        delivery: grant.delivery,
        deed: None,
        reason: grant.reason.clone(),
    };
    let now = broker.clock.now();
    let rules = broker.policies.current();
    let decision = decide_lifted(broker, &rules, record, &request, None, now)?;
    broker.metrics.decided(&decision);
    let permit = match decision {
        Decision::Permit(permit) => permit,
        Decision::Deny(denial) => return deny(broker, record, &request, denial, now).await,
        Decision::NeedsApproval { decided_by, .. } => {
            let reason =
                "the policies now want an approval for this; ask for a new grant, and wait for it";
            let denial = Denial {
                layer: Layer::Policy,
                reason: reason.to_owned(),
                decided_by,
                requestable: vec![],
            };
            return deny(broker, record, &request, denial, now).await;
        }
    };
    match broker.source(&grant.scope.upstream)? {
        Source::Signed(minter) => sign(broker, record, &**minter, &grant, permit).await,
        Source::Kept(key) => sign(broker, record, &**key, &grant, permit).await,
        Source::Minted(minter) => {
            let work = mint(Arc::clone(broker), Arc::clone(minter), grant, permit);
            broker.mints.run(&caller.subject, work).await
        }
    }
}

async fn sign(
    broker: &Broker,
    record: &SessionRecord,
    minter: &dyn Local,
    grant: &Grant,
    permit: Permit,
) -> Result<Granted, Refusal> {
    let minted = minter
        .make(grant.id, &permit, confirmation(record, permit.delivery()), permit.decided())
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    let issue = broker.signed_record(&minted, &permit);
    let issued = broker.store.record_renewed(grant.id, issue, permit.decided()).await?;
    let credential = minted.release(&issued);
    Ok(Granted { grant: issued.into_grant(), credential })
}

async fn mint(
    broker: Arc<Broker>,
    minter: Arc<dyn Minter>,
    grant: Grant,
    permit: Permit,
) -> Result<Granted, Refusal> {
    let life = Life::of(&permit);
    let recorded = match broker.store.record_renewal_intent(grant.id, permit).await {
        // Active, and not to be renewed: somebody else is at it.
        Err(StoreError::Conflict(Phase::Active)) => return Err(Refusal::InProgress),
        recorded => recorded?,
    };
    let place = Place { grant: grant.id, version: recorded.version() };
    let minted = mint_once(&broker, &*minter, recorded, place).await?;
    let issue = broker.issue_record(&minted, place, life)?;
    match broker.store.record_renewed(grant.id, issue, broker.clock.now()).await {
        Ok(issued) => {
            // The credential before is queued for revocation by now.
            broker.revocations.notify_one();
            let credential = minted.release(&issued);
            Ok(Granted { grant: issued.into_grant(), credential })
        }
        Err(error) => {
            broker.take_back(place, minted, "the grant ended while it was renewed").await?;
            Err(error.into())
        }
    }
}
