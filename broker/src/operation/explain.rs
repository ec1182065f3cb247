//! What would be answered: asked of the policies in force, and nothing comes of it. Mints nothing,
//! records nothing, uses nothing up.
//!
//! Operators and auditors ask about anybody, of the policies alone. A session asks about itself: then its
//! envelope, what is stopped and its approvals count too, because `decide` is what answers.

use std::{collections::BTreeSet, sync::Arc};

use jeton_domain::{
    approval::GroupName,
    decision::{Decision, Delivery, GrantRequest, Rules},
    principal::PrincipalId,
    scope::{Actions, Resource, Scope},
    session::Words,
    ttl::{Timestamp, Ttl},
};
use jeton_policy::{
    PolicySet,
    author::{
        ask::{Answer, Ask, AskError, Delivered, ask, by_delivery},
        survey::{self, Row},
    },
};

use super::{Broker, Caller, Refusal, delivery::decide_one};
use crate::store::SessionRecord;

/// One question.
pub struct Asking {
    /// The agent; a session asks for its own.
    pub agent: Option<PrincipalId>,
    /// The person that it acts for.
    pub person: Option<PrincipalId>,
    /// The agents that passed it on, from the first.
    pub delegators: Vec<PrincipalId>,
    /// What it asks for.
    pub scope: Scope,
    /// How long; `None` asks for the longest that is allowed.
    pub ttl: Option<Ttl>,
    /// Groups that approved it.
    pub approvals: BTreeSet<GroupName>,
    /// Delivered where; `None` asks about each delivery that there is.
    pub delivery: Option<Delivery>,
}

/// What many questions are about.
pub enum About {
    /// What this agent may do; a session asks for its own.
    Agent(Option<PrincipalId>),
    /// Who may do this.
    Scope(Scope),
}

/// Answers to many questions.
pub struct Survey {
    /// Hash of the policies that answered.
    pub policy_hash: String,
    /// The answers.
    pub rows: Vec<Row>,
    /// How many questions were asked before the next ones; `None` at the end.
    pub next: Option<u64>,
}

/// Answers one question for each delivery, the preferred one first, and names the policies. One answer without
/// a delivery holds for all.
///
/// # Errors
/// When the caller may not ask it, or no session could.
pub async fn explain(
    broker: &Arc<Broker>,
    caller: &Arc<Caller>,
    asking: Asking,
) -> Result<(String, Vec<Delivered>), Refusal> {
    let own = whose(caller, asking.agent.as_ref())?;
    let foreign =
        asking.person.is_some() || !asking.delegators.is_empty() || !asking.approvals.is_empty();
    if own && foreign {
        return Err(about_itself());
    }
    off(broker, caller, move |broker, caller| {
        let (rules, now) = (broker.policies.current(), broker.clock.now());
        let deliveries = broker.deliveries(&asking.scope.upstream, asking.delivery);
        let answers = if own {
            let (record, scope, ttl) = (caller.session()?, asking.scope, asking.ttl);
            by_delivery(deliveries, |delivery| {
                decided(broker, &rules, record, (scope.clone(), ttl, delivery), now)
            })?
        } else {
            let asked = Ask {
                agent: asking.agent.ok_or_else(no_agent)?,
                person: asking.person,
                delegators: asking.delegators,
                scope: asking.scope,
                ttl: asking.ttl,
                delivery: Delivery::Direct,
                approvals: asking.approvals,
                at: now,
            };
            by_delivery(deliveries, |delivery| ask(&rules, &Ask { delivery, ..asked.clone() }))
                .map_err(unasked)?
        };
        Ok((rules.hash().to_owned(), answers))
    })
    .await
}

/// Answers many questions, from one on.
///
/// # Errors
/// As [`explain`].
pub async fn survey(
    broker: &Arc<Broker>,
    caller: &Arc<Caller>,
    about: About,
    person: Option<PrincipalId>,
    delivery: Option<Delivery>,
    (from, size): (u64, u32),
) -> Result<Survey, Refusal> {
    let own = match &about {
        About::Agent(agent) => whose(caller, agent.as_ref())?,
        // Why not for a session: who else may do something is not about itself.
        About::Scope(_) => whose(caller, None)?,
    };
    if own && (person.is_some() || matches!(about, About::Scope(_))) {
        return Err(about_itself());
    }
    off(broker, caller, move |broker, caller| {
        let (rules, now) = (broker.policies.current(), broker.clock.now());
        let person = person.as_ref();
        let rows = match about {
            About::Agent(_) if own => {
                let record = caller.session()?;
                let one = |scope: Scope| {
                    let deliveries = broker.deliveries(&scope.upstream, delivery);
                    let answers = by_delivery(deliveries, |delivery| {
                        decided(broker, &rules, record, (scope.clone(), None, delivery), now)
                    })?;
                    let agent = record.session.agent.to_string();
                    Ok(Row { agent, scope, answers })
                };
                part(own_scopes(&rules, record), (from, size), one)?
            }
            About::Agent(agent) => {
                let agent = agent.ok_or_else(no_agent)?;
                let one = |scope: Scope| {
                    let deliveries = broker.deliveries(&scope.upstream, delivery);
                    survey::one(&rules, (&agent, person), scope, deliveries, now)
                };
                part(survey::scopes(&rules), (from, size), |scope| one(scope).map_err(unasked))?
            }
            About::Scope(scope) => {
                let deliveries = broker.deliveries(&scope.upstream, delivery);
                let one = |(pattern, example): (String, PrincipalId)| {
                    let whom = (&example, person);
                    let row = survey::one(&rules, whom, scope.clone(), deliveries, now);
                    row.map(|row| Row { agent: pattern, ..row }).map_err(unasked)
                };
                part(survey::examples(&rules).map(Ok), (from, size), one)?
            }
        };
        let (rows, next) = rows;
        Ok(Survey { policy_hash: rules.hash().to_owned(), rows, next })
    })
    .await
}

/// Tells whether the caller asks as its session, about itself.
fn whose(caller: &Caller, agent: Option<&PrincipalId>) -> Result<bool, Refusal> {
    if caller.sees_all() {
        return Ok(false);
    }
    let Some(own) = &caller.session else {
        return Err(Refusal::Forbidden(
            "asking what would be answered needs the role operator or auditor, or the handle of the session that you ask about",
        ));
    };
    match agent {
        Some(agent) if *agent != own.session.agent => Err(about_itself()),
        Some(_) | None => Ok(true),
    }
}

/// What the session would get: by its envelope, what is stopped, its approvals and the policies.
fn decided(
    broker: &Broker,
    rules: &PolicySet,
    record: &SessionRecord,
    (scope, ttl, delivery): (Scope, Option<Ttl>, Delivery),
    now: Timestamp,
) -> Result<Answer, Refusal> {
    let request = GrantRequest { scope, ttl, delivery, deed: None, reason: Words::default() };
    // Why nothing comes of a permit: it is dropped here, and only the store makes anything of one.
    let decision: Decision = decide_one(broker, rules, record, &request, now)?;
    Ok(decision.into())
}

/// What is worth asking for in a session: each action of each line of its envelope that names a resource,
/// and of what the catalogue lists that which the envelope holds. Nothing else of the catalogue is told.
fn own_scopes<'a>(
    rules: &'a PolicySet,
    record: &'a SessionRecord,
) -> impl Iterator<Item = Result<Scope, AskError>> + 'a {
    let envelope = &record.session.envelope;
    let mut named: Vec<Scope> = Vec::new();
    for line in envelope.scopes() {
        // A pattern names none.
        let Ok(resource) = Resource::parse(line.resource.as_str()) else { continue };
        for action in line.actions.iter() {
            let Ok(actions) = Actions::new([action.clone()]) else { continue };
            let (upstream, resource) = (line.upstream.clone(), resource.clone());
            let git_ref = line.git_ref.clone().filter(|_| !action.only_reads());
            let scope = Scope { upstream, resource, actions, git_ref };
            if !named.contains(&scope) {
                named.push(scope);
            }
        }
    }
    let known = named.clone();
    let listed = survey::scopes(rules).filter(move |scope| {
        scope.as_ref().map_or(true, |scope| envelope.allows(scope) && !known.contains(scope))
    });
    named.into_iter().map(Ok).chain(listed)
}

/// Some of many questions, answered, and where the next ones begin.
fn part<Q>(
    questions: impl Iterator<Item = Result<Q, AskError>>,
    (from, size): (u64, u32),
    mut answer: impl FnMut(Q) -> Result<Row, Refusal>,
) -> Result<(Vec<Row>, Option<u64>), Refusal> {
    let mut rest = questions.skip(usize::try_from(from).unwrap_or(usize::MAX)).peekable();
    let mut rows = Vec::new();
    for question in rest.by_ref().take(usize::try_from(size).unwrap_or(usize::MAX)) {
        rows.push(answer(question.map_err(unasked)?)?);
    }
    let next = rest.peek().map(|_| from.saturating_add(size.into()));
    Ok((rows, next))
}

fn about_itself() -> Refusal {
    Refusal::Forbidden(
        "with a session's handle you ask about yourself alone; name no other agent, no person and nothing of others",
    )
}

fn no_agent() -> Refusal {
    Refusal::Invalid { field: "agent", message: "it is missing; say whom you ask about".into() }
}

fn unasked(error: AskError) -> Refusal {
    Refusal::Invalid { field: "scope", message: error.to_string() }
}

/// Runs what takes a core off the async threads, a few at a time.
async fn off<T: Send + 'static>(
    broker: &Arc<Broker>,
    caller: &Arc<Caller>,
    work: impl FnOnce(&Broker, &Caller) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let (broker, caller) = (Arc::clone(broker), Arc::clone(caller));
    let place = Arc::clone(&broker.searches).acquire_owned().await;
    let place = place.map_err(|error| Refusal::Internal(error.to_string()))?;
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&broker, &caller);
        drop(place);
        done
    });
    done.await.map_err(|error| Refusal::Internal(error.to_string()))?
}
