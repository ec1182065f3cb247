//! Opens a session for an agent, if policy lets the caller.

use jeton_domain::{
    audit::Event,
    decision::{Denial, Layer, Rules, Verdict},
    grant::DecidedBy,
    id::RequestId,
    limits::SESSION_TTL_SECONDS,
    principal::PrincipalId,
    secret::{Secret, sha256},
    session::{Binding, Envelope, Session, Words},
    ttl::Ttl,
};

use super::{Broker, Caller, Refusal};
use crate::store::{SessionDraft, SessionRecord};

/// What is asked for.
pub struct Opening {
    /// The agent.
    pub agent: PrincipalId,
    /// The person it acts for.
    pub person: Option<PrincipalId>,
    /// What it is to do.
    pub task: Words,
    /// The most it may be granted.
    pub envelope: Envelope,
    /// How long.
    pub ttl: Ttl,
    /// What the handle is bound to.
    pub binding: Binding,
    /// Key for a safe retry.
    pub request_id: Option<RequestId>,
}

/// Decides, records, and gives the handle.
///
/// # Errors
/// When policy refuses it, a part is out of range, or it can't be recorded.
pub async fn open_session(
    broker: &Broker,
    caller: &Caller,
    opening: Opening,
) -> Result<(SessionRecord, Secret), Refusal> {
    broker.halt.is_off()?;
    check(broker, &opening)?;
    let opener = &caller.principal;
    let rules = broker.policies.current();
    let now = broker.clock.now();
    let verdict = rules.may_open(
        &opener.id,
        opener.kind,
        &opening.agent,
        opening.person.as_ref(),
        opening.ttl,
        now,
    );
    let decided = |policies| DecidedBy { policies, policy_hash: rules.hash().into() };
    let policies = match verdict {
        Verdict::Allow(ids) => ids,
        Verdict::Forbid(guards) => {
            let words =
                guards.first().map(|guard| guard.reason.as_str().to_owned()).unwrap_or_default();
            let ids = guards.into_iter().map(|guard| guard.policy).collect();
            return refuse(broker, caller, &opening, decided(ids), &words).await;
        }
        Verdict::Nothing => {
            return refuse(broker, caller, &opening, decided(vec![]), "no policy allows it").await;
        }
        Verdict::Error(ids) => {
            return refuse(
                broker,
                caller,
                &opening,
                decided(ids),
                "a policy could not be evaluated",
            )
            .await;
        }
    };
    let id = broker.store.reserve_session();
    let handle = broker.handles.handle(id);
    let session = Session {
        id,
        agent: opening.agent,
        person: opening.person,
        opener: opener.id.clone(),
        task: opening.task,
        envelope: opening.envelope,
        binding: opening.binding,
        handle_hash: sha256(handle.expose().as_bytes()),
        opened: now,
        deadline: now.plus(opening.ttl),
    };
    let decided_by = decided(policies);
    let wanted = session.clone();
    let draft =
        SessionDraft { session, method: opener.method, decided_by, request_id: opening.request_id };
    let record = broker.store.open_session(draft).await?;
    if !same_opening(&record.session, &wanted) {
        return Err(Refusal::RequestIdReused);
    }
    // Why made anew: a retry gets the session that was opened first, and its handle.
    let handle = broker.handles.handle(record.session.id);
    Ok((record, handle))
}

fn check(broker: &Broker, opening: &Opening) -> Result<(), Refusal> {
    if opening.ttl.seconds() > SESSION_TTL_SECONDS {
        let message = format!("{} s is more than {SESSION_TTL_SECONDS} s", opening.ttl.seconds());
        return Err(Refusal::Invalid { field: "ttl_seconds", message });
    }
    if opening.binding == Binding::Bearer && !broker.bearer_handles {
        return Err(Refusal::Invalid {
            field: "binding",
            message: "a handle bound to nothing is switched off here; bind it to the agent's certificate, key or user id".into(),
        });
    }
    for bound in opening.envelope.scopes() {
        broker.source(&bound.upstream)?;
    }
    Ok(())
}

async fn refuse(
    broker: &Broker,
    caller: &Caller,
    opening: &Opening,
    decided_by: DecidedBy,
    words: &str,
) -> Result<(SessionRecord, Secret), Refusal> {
    let reason = format!(
        "`{}` may not open a session for `{}`: {words}",
        caller.principal.id, opening.agent
    );
    let event = Event::SessionRefused {
        agent: opening.agent.clone(),
        opener: caller.principal.id.clone(),
        reason: Words::new(&reason),
        decided_by: decided_by.clone(),
    };
    broker.store.append(event, broker.clock.now()).await?;
    let denial = Denial { layer: Layer::Policy, reason, decided_by, requestable: vec![] };
    Err(Refusal::Denied(Box::new(denial)))
}

/// One request id stands for one opening.
fn same_opening(found: &Session, wanted: &Session) -> bool {
    found.agent == wanted.agent
        && found.person == wanted.person
        && found.envelope == wanted.envelope
        && found.binding == wanted.binding
}
