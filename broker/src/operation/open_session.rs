//! Opens a session for an agent, if policy lets the caller: of its own, or below the caller's.

use std::collections::BTreeSet;

use jeton_domain::{
    accountable::AccountableSubject,
    audit::Event,
    decision::{Denial, Layer, Rules, Verdict},
    delegation::{Bequest, Chain, inherit},
    grant::DecidedBy,
    id::{RequestId, SessionId},
    limits::SESSION_TTL_SECONDS,
    principal::{Issuer, PrincipalId},
    revocation::Holder,
    secret::{Secret, sha256},
    session::{Binding, Envelope, Session, Words},
    ttl::{Timestamp, Ttl},
};

use jeton_policy::Opener;

use super::{
    Broker, Caller, Refusal,
    denial_log::{accountable, record_denial},
};
use crate::store::{SessionDraft, SessionRecord};

/// What is asked for.
#[derive(Clone)]
pub struct Opening {
    /// The agent.
    pub agent: PrincipalId,
    /// The person it acts for. Below another session: that one's, whether named or not.
    pub person: Option<PrincipalId>,
    /// What it is to do.
    pub task: Words,
    /// The most it may be granted.
    pub envelope: Envelope,
    /// How long.
    pub ttl: Ttl,
    /// What the handle is bound to.
    pub binding: Binding,
    /// The session that passes on what it has; `None` for a session of its own.
    pub parent: Option<SessionId>,
    /// Key for a safe retry.
    pub request_id: Option<RequestId>,
}

/// Where a session stands: on its own, or below another.
struct Place {
    person: Option<PrincipalId>,
    deadline: Timestamp,
    chain: Chain,
    issuers: Vec<Issuer>,
}

/// Decides, records, and gives the handle.
///
/// # Errors
/// When policy refuses it, the parent does not have it, a part is out of range, or it can't be
/// recorded.
pub async fn open_session(
    broker: &Broker,
    caller: &Caller,
    opening: Opening,
) -> Result<(SessionRecord, Secret), Refusal> {
    let draft = prepare(broker, caller, opening).await?;
    record(broker, draft).await
}

/// Decides whether a session may open. Nothing is recorded yet, but for a denial.
///
/// # Errors
/// As [`open_session`].
pub(super) async fn prepare(
    broker: &Broker,
    caller: &Caller,
    opening: Opening,
) -> Result<SessionDraft, Refusal> {
    broker.halt.is_off()?;
    check(broker, &opening)?;
    let now = broker.clock.now();
    let place = place(broker, caller, &opening, now)?;
    let policies = match decide(broker, caller, &opening, &place, now)? {
        Ok(policies) => policies,
        Err(denial) => return Err(refuse(broker, caller, opening, place, denial).await),
    };
    let id = broker.store.reserve_session();
    let handle = broker.handles.handle(id);
    let session = Session {
        id,
        agent: opening.agent,
        person: place.person,
        opener: caller.principal.id.clone(),
        task: opening.task,
        envelope: opening.envelope,
        binding: opening.binding,
        handle_hash: sha256(handle.expose().as_bytes()),
        opened: now,
        deadline: place.deadline,
        chain: place.chain,
        issuers: place.issuers,
    };
    Ok(SessionDraft {
        session,
        method: caller.principal.method,
        decided_by: policies,
        request_id: opening.request_id,
    })
}

/// Records a session that may open, and gives the handle.
///
/// # Errors
/// When it can't be recorded, or its request id stands for another session.
pub(super) async fn record(
    broker: &Broker,
    draft: SessionDraft,
) -> Result<(SessionRecord, Secret), Refusal> {
    let wanted = draft.session.clone();
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

/// What the session has of the one above it, if there is one; its handle must come with the call.
fn place(
    broker: &Broker,
    caller: &Caller,
    opening: &Opening,
    now: Timestamp,
) -> Result<Place, Refusal> {
    let own_word = caller.principal.issuer.iter().cloned();
    let Some(parent) = opening.parent else {
        let deadline = now.plus(opening.ttl);
        let person = opening.person.as_ref().map(|person| broker.identity(person));
        let issuers = own_word.collect();
        return Ok(Place { person, deadline, chain: Chain::default(), issuers });
    };
    let own = caller.session()?;
    if own.session.id != parent {
        return Err(Refusal::Invalid {
            field: "parent",
            message: "it is not the session of the handle on this call; only its holder passes on what a session has".into(),
        });
    }
    let asked = Bequest {
        envelope: opening.envelope.clone(),
        person: opening.person.as_ref().map(|person| same_as(broker, person, &own.session)),
        ttl: opening.ttl,
    };
    let inherited = inherit(&own.session, &own.state, asked, now)
        .map_err(|error| Refusal::Invalid { field: "parent", message: error.to_string() })?;
    let issuers: BTreeSet<_> = own.session.issuers.iter().cloned().chain(own_word).collect();
    Ok(Place {
        person: inherited.person().cloned(),
        deadline: inherited.deadline(),
        chain: inherited.chain().clone(),
        issuers: issuers.into_iter().collect(),
    })
}

/// A person by the name that its parent has, if it is the same person.
fn same_as(broker: &Broker, person: &PrincipalId, parent: &Session) -> PrincipalId {
    let rules = broker.policies.current();
    let is = |known: &&PrincipalId| rules.catalogue().people().are_one(known, person);
    parent.person.as_ref().filter(is).unwrap_or(person).clone()
}

/// Asks the policies, and then what is stopped.
fn decide(
    broker: &Broker,
    caller: &Caller,
    opening: &Opening,
    place: &Place,
    now: Timestamp,
) -> Result<Result<DecidedBy, Denial>, Refusal> {
    let rules = broker.policies.current();
    let decided =
        |policies| DecidedBy { policies, policy_hash: rules.hash().into(), approvals: vec![] };
    let no = |layer, decided_by, words: &str| {
        let (opener, agent) = (&caller.principal.id, &opening.agent);
        let reason = format!("`{opener}` may not open a session for `{agent}`: {words}");
        Ok(Err(Denial { layer, reason, decided_by, requestable: vec![] }))
    };
    let holder = Holder {
        session: None,
        agent: &opening.agent,
        person: place.person.as_ref(),
        opener: Some(&caller.principal.id),
        chain: &place.chain,
    };
    let verdict = rules.may_open(Opener {
        id: &caller.principal.id,
        kind: caller.principal.kind,
        agent: &opening.agent,
        person: place.person.as_ref(),
        chain: &place.chain,
        ttl: opening.ttl,
        now,
    });
    match verdict {
        // Why after the policies: what is stopped is told to whoever could open it otherwise.
        Verdict::Allow(ids) => match broker.stops()?.against(holder, None) {
            Some(stop) => no(Layer::Stop, decided(vec![]), &stop.refusal()),
            None => Ok(Ok(decided(ids))),
        },
        Verdict::Forbid(guards) => {
            let words = guards.first().map(|guard| guard.reason.clone()).unwrap_or_default();
            let ids = guards.into_iter().map(|guard| guard.policy).collect();
            no(Layer::Policy, decided(ids), words.as_str())
        }
        Verdict::Nothing => no(Layer::Policy, decided(vec![]), "no policy allows it"),
        // Never sent: a session is opened without any delivery.
        Verdict::GatewayOnly(ids) => no(Layer::Policy, decided(ids), "no policy allows it"),
        Verdict::Error(ids) => no(Layer::Policy, decided(ids), "a policy could not be evaluated"),
    }
}

async fn refuse(
    broker: &Broker,
    caller: &Caller,
    opening: Opening,
    place: Place,
    denial: Denial,
) -> Refusal {
    let event = Event::SessionRefused {
        agent: opening.agent,
        chain: place.chain,
        opener: caller.principal.id.clone(),
        reason: Words::new(&denial.reason),
        decided_by: denial.decided_by.clone(),
    };
    let recorded = async {
        let subject = match caller.session.as_deref() {
            Some(record) => accountable(broker, record).await?,
            None => AccountableSubject::Principal(caller.principal.id.clone()),
        };
        record_denial(broker, &subject, event, broker.clock.now()).await
    };
    match recorded.await {
        Ok(()) => Refusal::Denied(Box::new(denial)),
        Err(refusal) => refusal,
    }
}

/// One request id stands for one opening.
fn same_opening(found: &Session, wanted: &Session) -> bool {
    found.agent == wanted.agent
        && found.person == wanted.person
        && found.envelope == wanted.envelope
        && found.binding == wanted.binding
        && found.chain == wanted.chain
}
