//! `jeton policy explain|can|who` without a folder: the broker answers, by the set that it has in force.

use std::time::Duration;

use jeton_client::{PolicyAnswer, PolicyQuestion, PolicyRow, Scope};
use jeton_domain::{
    approval::{GroupName, Guard},
    decision::{Delivery, Layer, PolicyId},
    session::Words,
    ttl::Ttl,
};
use jeton_policy::author::{
    ask::{Answer, Delivered},
    survey::Row,
};

use super::asking::{Who, surveyed, tell};
use crate::cli::{Global, exit::Exit, failure::Failure};

/// One question to the broker.
///
/// # Errors
/// When it refuses, or can't be reached.
pub async fn explain(
    global: &Global,
    scope: Scope,
    who: Who,
    (ttl, delivery): (Option<Duration>, Option<Delivery>),
    approved_by: Vec<String>,
) -> Result<Exit, Failure> {
    let whom = who.agent.clone().unwrap_or_else(|| "you".to_owned());
    let question = PolicyQuestion {
        agent: who.agent,
        person: who.person,
        delegators: who.delegators,
        ttl,
        approved_by,
        delivery,
        ..PolicyQuestion::new(scope.clone())
    };
    let found = global.connect().await?.explain(question).await?;
    let answers = found.into_iter().map(delivered).collect::<Result<Vec<_>, _>>()?;
    tell(global.output(), &format!("{scope} for {whom}"), &answers)
}

/// What an agent may do; without a name, the session of the handle.
///
/// # Errors
/// As [`explain`].
pub async fn can(global: &Global, who: Who) -> Result<Exit, Failure> {
    if !who.delegators.is_empty() {
        let words = "--delegator is for `jeton policy explain`; leave it out".to_owned();
        return Err(Failure::Invalid(words));
    }
    let client = global.connect().await?;
    let found = client.may(who.agent.as_deref(), who.person.as_deref(), None).await?;
    surveyed(global.output(), &rows(found)?, |row| row.scope.to_string())
}

/// Who may do something.
///
/// # Errors
/// As [`explain`].
pub async fn who(global: &Global, scope: &Scope, person: Option<&str>) -> Result<Exit, Failure> {
    let found = global.connect().await?.who_may(scope, person).await?;
    surveyed(global.output(), &rows(found)?, |row| row.agent.clone())
}

fn rows(found: Vec<PolicyRow>) -> Result<Vec<Row>, Failure> {
    let row = |row: PolicyRow| {
        let scope = Scope::parse(&row.scope).map_err(|error| strange(&error))?;
        Ok(Row { agent: row.agent, scope, answers: vec![delivered(row.answer)?] })
    };
    found.into_iter().map(row).collect()
}

fn delivered(found: PolicyAnswer) -> Result<Delivered, Failure> {
    Ok(Delivered { delivery: found.delivery, answer: read(found)? })
}

/// The broker's answer as the tools of a folder give it.
fn read(found: PolicyAnswer) -> Result<Answer, Failure> {
    let policies = found.policy_ids.iter().map(|id| PolicyId::new(id)).collect();
    let ttl = || {
        let seconds = found.ttl_seconds.and_then(Ttl::from_seconds);
        seconds.ok_or_else(|| strange(&"it says yes for no time"))
    };
    let guard = |guard: &jeton_client::GuardInfo| Guard {
        policy: PolicyId::new(&guard.policy_id),
        groups: guard.groups.iter().map(|name| GroupName::new(name)).collect(),
        reason: Words::new(&guard.reason),
    };
    match found.answer.as_str() {
        "allow" => Ok(Answer::Allow { ttl: ttl()?, policies }),
        "needs approval" => {
            let guards = found.guards.iter().map(guard).collect();
            Ok(Answer::NeedsApproval { ttl: ttl()?, guards, policies })
        }
        "deny" => {
            let known = [
                Layer::Session,
                Layer::Stop,
                Layer::Envelope,
                Layer::Policy,
                Layer::Delivery,
                Layer::Budget,
            ];
            let layer =
                known.into_iter().find(|layer| Some(layer.word()) == found.layer.as_deref());
            Ok(Answer::Deny {
                layer: layer.ok_or_else(|| strange(&"it names no layer"))?,
                reason: found.reason,
                policies,
                instead: found.requestable,
            })
        }
        other => Err(strange(&format!("`{other}` is no answer"))),
    }
}

fn strange(why: &dyn std::fmt::Display) -> Failure {
    Failure::Broken(format!("the broker's answer is not understood: {why}"))
}
