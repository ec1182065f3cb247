//! Token exchange: one credential for one scope, for callers without a session of their own.
//!
//! A session is opened for just this grant, with just this scope, and the policies decide on both
//! as always. It is bound to the key that the caller proved, and so is the credential.

use std::sync::Arc;

use jeton_domain::{
    decision::{Decision, Delivery, Denial, Layer},
    limits::GRANT_TTL_SECONDS,
    pattern::Pattern,
    principal::{Principal, ProvedKeys},
    scope::{Scope, ScopeBound},
    secret::Secret,
    session::{Binding, Envelope, SessionState, Words},
    ttl::Ttl,
};

use tokio::sync::oneshot;

use super::{
    Broker, Caller, Refusal,
    denial_log::{accountable, record_denial},
    open_session::{Opening, prepare, record},
    request_grant::{Ask, Granted, Prospect, denied, prospect, request_grant},
    revoke::release,
    session_of::session_of,
};
use crate::{
    capacity::SlotHolder,
    store::{Ending, SessionDraft, SessionEnding, SessionRecord},
};

/// How long such a session lasts at most, in seconds. Why: its one grant ends with it.
const LIFE_SECONDS: u32 = 3600;

/// Gives a credential for one scope, in the session of the handle if there is one.
///
/// A caller that goes away meanwhile never hears of its grant, and can't ask for it again: then it is
/// taken back.
///
/// # Errors
/// When the caller proves no key, policy refuses the session or the grant, or a person would have to
/// approve it.
pub async fn exchange(
    broker: &Arc<Broker>,
    principal: Principal,
    handle: Option<Secret>,
    scope: Scope,
) -> Result<(Granted, Binding), Refusal> {
    let (tell, told) = oneshot::channel();
    let of = Arc::clone(broker);
    let subject = SlotHolder::principal(&principal.id);
    let given = async move {
        let outcome = give(&of, principal, handle, scope).await;
        if let Err(Ok((unheard, _))) = tell.send(outcome) {
            let ending = Ending::Revoked {
                by: Broker::own_name()?,
                reason: Words::new("whoever asked for it went away"),
            };
            of.store.end_grant(unheard.grant.id, ending, of.clock.now()).await?;
            of.revocations.notify_one();
        }
        Ok(())
    };
    broker.mints.run(&subject, given).await?;
    told.await.map_err(|error| Refusal::Internal(error.to_string()))?
}

async fn give(
    broker: &Arc<Broker>,
    principal: Principal,
    handle: Option<Secret>,
    scope: Scope,
) -> Result<(Granted, Binding), Refusal> {
    let ask = Ask {
        scope,
        ttl: None,
        delivery: Some(Delivery::Direct),
        reason: Words::new("token exchange"),
        request_id: None,
    };
    if let Some(handle) = handle {
        let record = session_of(broker, &handle, &principal).await?;
        let binding = record.session.binding;
        let caller = Caller::new(broker, principal, Some(record)).await?;
        let granted = request_grant(broker, &caller, ask).await?;
        if granted.credential.is_none() {
            release(broker, &caller, granted.grant.id).await?;
            return Err(waits());
        }
        return Ok((granted, binding));
    }
    let binding = binding(&principal.keys, broker.bearer_handles)?;
    let caller = Caller::new(broker, principal, None).await?;
    let opening = opening(&caller, &ask.scope, binding)?;
    let draft = prepare(broker, &caller, opening).await?;
    allowed(broker, &draft, &ask).await?;
    let (record, _) = record(broker, draft).await?;
    let id = record.session.id;
    let caller = Caller { session: Some(Arc::new(record)), ..caller };
    match request_grant(broker, &caller, ask).await {
        Ok(granted) if granted.credential.is_some() => Ok((granted, binding)),
        outcome => {
            // Nobody holds its handle: what waits in it could never be fetched.
            let by = caller.principal.id.clone();
            let reason = Words::new("its one grant was not given");
            let ending = SessionEnding::Closed { by, reason };
            if let Err(error) = broker.store.end_session(id, ending, broker.clock.now()).await {
                tracing::error!(%error, "a session that gave nothing could not be closed; it ends by itself");
            }
            outcome.and(Err(waits()))
        }
    }
}

/// Denies what the session would be opened for in vain. Why before it opens: opening and closing
/// are entries that are always written whole, and whoever is denied may ask as often as it likes.
async fn allowed(broker: &Broker, draft: &SessionDraft, ask: &Ask) -> Result<(), Refusal> {
    let record = SessionRecord { session: draft.session.clone(), state: SessionState::Open };
    let (denial, told) = match prospect(broker, &record, ask)? {
        Prospect::Granted => return Ok(()),
        Prospect::Denied(denial) => (denial.clone(), Refusal::Denied(Box::new(denial))),
        Prospect::Waits(decided_by) => {
            let reason = waits().to_string();
            let layer = Layer::Session;
            (Denial { layer, reason, decided_by, requestable: vec![] }, waits())
        }
    };
    broker.metrics.decided(&Decision::Deny(denial.clone()));
    let event = denied(&record, &ask.scope, Delivery::Direct, &denial);
    let subject = accountable(broker, &record).await?;
    record_denial(broker, &subject, event, broker.clock.now()).await?;
    Err(told)
}

/// What can't be waited for here.
fn waits() -> Refusal {
    Refusal::State(
        "a person must approve this first; ask for it in a session, and wait for the answer".into(),
    )
}

fn opening(caller: &Caller, scope: &Scope, binding: Binding) -> Result<Opening, Refusal> {
    let odd = |error: &dyn std::fmt::Display| Refusal::Internal(error.to_string());
    let bound = ScopeBound {
        upstream: scope.upstream.clone(),
        resource: Pattern::parse(scope.resource.as_str()).map_err(|error| odd(&error))?,
        actions: scope.actions.clone(),
        git_ref: scope.git_ref.clone(),
    };
    let longest = LIFE_SECONDS.min(GRANT_TTL_SECONDS);
    Ok(Opening {
        agent: caller.principal.id.clone(),
        person: None,
        task: Words::new("token exchange"),
        envelope: Envelope::new(vec![bound], 1, longest).map_err(|error| odd(&error))?,
        ttl: Ttl::from_seconds(longest).ok_or_else(|| odd(&"no time"))?,
        binding,
        parent: None,
        request_id: None,
    })
}

/// What the credential is bound to: the key of the caller's proof, else its certificate.
fn binding(keys: &ProvedKeys, bearer: bool) -> Result<Binding, Refusal> {
    match *keys {
        ProvedKeys { jwk: Some(key), .. } => Ok(Binding::Jwk(key)),
        ProvedKeys { certificate: Some(certificate), .. } => Ok(Binding::Certificate(certificate)),
        ProvedKeys { unix_uid: Some(uid), .. } => Ok(Binding::UnixUid(uid)),
        ProvedKeys { .. } if bearer => Ok(Binding::Bearer),
        ProvedKeys { .. } => Err(Refusal::Invalid {
            field: "dpop",
            message: "a credential bound to nothing is switched off here; send a DPoP proof (RFC 9449), or connect with a client certificate".into(),
        }),
    }
}
