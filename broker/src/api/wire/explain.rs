//! The wire's side of questions to the policies.

use jeton_domain::{approval::GroupName, spelling::Spelling};
use jeton_policy::author::{
    ask::{Answer, Delivered},
    survey::Row,
};
use jeton_proto::v1;

use super::{
    Parsed, delivered, delivery, guard, invalid, optional, parsed_scope, principal, scope, ttl,
};
use crate::operation::explain::{About, Asking};

/// Reads one question.
pub(crate) fn asking(request: v1::ExplainRequest, spelling: &Spelling) -> Parsed<Asking> {
    let delegators = request.delegators.iter().map(|name| principal("delegators", name));
    Ok(Asking {
        agent: optional("agent", &request.agent, principal)?,
        person: optional("person", &request.person, principal)?,
        delegators: delegators.collect::<Result<_, _>>()?,
        scope: parsed_scope(request.scope, spelling)?,
        ttl: ttl(request.ttl_seconds),
        approvals: request.approved_by.iter().map(|name| GroupName::new(name)).collect(),
        delivery: delivery(request.delivery)?,
    })
}

/// Reads what many questions are about.
pub(crate) fn about(agent: &str, scope: Option<v1::Scope>, spelling: &Spelling) -> Parsed<About> {
    match (optional("agent", agent, principal)?, scope) {
        (Some(_), Some(_)) => Err(invalid("scope", "name an agent or a scope, not both")),
        (None, Some(scope)) => parsed_scope(Some(scope), spelling).map(About::Scope),
        (agent, None) => Ok(About::Agent(agent)),
    }
}

/// The answers to one question. There is at least one.
pub(crate) fn explained(hash: String, answers: Vec<Delivered>) -> v1::ExplainResponse {
    let mut answers = answers.into_iter().map(answer);
    v1::ExplainResponse { hash, answer: answers.next(), other: answers.next() }
}

fn answer(Delivered { delivery, answer }: Delivered) -> v1::PolicyAnswer {
    let told = v1::PolicyAnswer {
        answer: answer.word().to_owned(),
        delivery: delivery.map_or(v1::Delivery::Unspecified, delivered).into(),
        policy_ids: answer.policies().iter().map(ToString::to_string).collect(),
        ..v1::PolicyAnswer::default()
    };
    match answer {
        Answer::Allow { ttl, .. } => v1::PolicyAnswer { ttl_seconds: ttl.seconds(), ..told },
        Answer::NeedsApproval { ttl, guards, .. } => v1::PolicyAnswer {
            ttl_seconds: ttl.seconds(),
            guards: guards.iter().map(guard).collect(),
            ..told
        },
        Answer::Deny { layer, reason, instead, .. } => v1::PolicyAnswer {
            layer: layer.word().to_owned(),
            reason,
            requestable: instead,
            ..told
        },
    }
}

pub(crate) fn rows(row: Row) -> impl Iterator<Item = v1::SurveyRow> {
    let Row { agent, scope: of, answers } = row;
    answers.into_iter().map(move |one| v1::SurveyRow {
        agent: agent.clone(),
        scope: Some(scope(&of)),
        answer: Some(answer(one)),
    })
}
