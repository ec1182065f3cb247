//! `jeton policy explain`, `can` and `who`: questions to a folder.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use jeton_domain::{
    approval::GroupName,
    decision::{Delivery, PolicyId},
    principal::PrincipalId,
    scope::Scope,
    ttl::Ttl,
};
use jeton_policy::author::{
    ask::{Answer, Ask, DELIVERIES, Delivered, ask, by_delivery},
    survey::{self, Row},
};
use serde::Serialize;

use super::{load, name, now, odd, online, optional};
use crate::cli::{
    Global,
    exit::{self, Exit},
    failure::Failure,
    output::{Output, clean, table},
    span,
};

/// One question.
#[derive(Args)]
#[command(allow_missing_positional = true)]
pub struct Explain {
    /// The folder; without it, the broker is asked, by what it has in force.
    folder: Option<PathBuf>,
    /// What is asked for, such as 'git:acme/api contents:write ref=main'.
    scope: String,
    #[command(flatten)]
    who: Who,
    /// How long; without it, as long as is allowed.
    #[arg(long, value_parser = span::parse, value_name = "SPAN")]
    ttl: Option<Duration>,
    /// A group that approved it.
    #[arg(long = "approved-by", value_name = "GROUP")]
    approvals: Vec<String>,
    /// Where the credential goes; without it, each delivery that answers otherwise.
    #[arg(long, value_enum, value_name = "DELIVERY")]
    delivery: Option<To>,
}

/// Where a credential goes.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum To {
    /// To the agent.
    Direct,
    /// To the gateway.
    Gateway,
}

impl From<To> for Delivery {
    fn from(to: To) -> Self {
        match to {
            To::Direct => Self::Direct,
            To::Gateway => Self::Gateway,
        }
    }
}

/// Who asks.
#[derive(Args)]
pub struct Who {
    /// The agent; without it, the broker answers for the session of your handle.
    #[arg(long, value_name = "NAME")]
    pub(super) agent: Option<String>,
    /// The person that it acts for.
    #[arg(long, value_name = "NAME")]
    pub(super) person: Option<String>,
    /// An agent that passed it on; the first one first.
    #[arg(long = "delegator", value_name = "NAME")]
    pub(super) delegators: Vec<String>,
}

impl Who {
    fn named(&self) -> Result<PrincipalId, Failure> {
        let agent = self.agent.as_deref().ok_or_else(|| {
            Failure::Invalid("a folder knows no session; name the agent by --agent".to_owned())
        })?;
        name(agent)
    }
}

/// Tells what is answered to one question, by a folder or by the broker.
pub async fn explain(global: &Global, explain: Explain) -> Result<Exit, Failure> {
    let Explain { folder, scope, who, ttl, approvals, delivery } = explain;
    let delivery = delivery.map(Delivery::from);
    let scope = crate::cli::ask::scope(&scope)?;
    let Some(folder) = folder else {
        return online::explain(global, scope, who, (ttl, delivery), approvals).await;
    };
    let ttl = ttl.and_then(|ttl| u32::try_from(ttl.as_secs()).ok());
    let asked = Ask {
        ttl: ttl.and_then(Ttl::from_seconds),
        approvals: approvals.iter().map(|name| GroupName::new(name)).collect(),
        ..asked(&who, scope)?
    };
    let set = load(&folder)?;
    let deliveries = delivery.as_ref().map_or(DELIVERIES, std::slice::from_ref);
    let answers = by_delivery(deliveries, |delivery| ask(&set, &Ask { delivery, ..asked.clone() }));
    let question = format!("{} for {}", asked.scope, asked.agent);
    tell(global.output(), &question, &answers.map_err(odd)?)
}

/// Tells what an agent may do.
pub async fn can(global: &Global, folder: Option<&Path>, who: Who) -> Result<Exit, Failure> {
    let Some(folder) = folder else { return online::can(global, who).await };
    let (agent, person) = (who.named()?, optional(who.person.as_deref())?);
    let rows = survey::can(&load(folder)?, &agent, person.as_ref(), now()).map_err(odd)?;
    surveyed(global.output(), &rows, |row| row.scope.to_string())
}

/// Tells who may do something.
pub async fn who(
    global: &Global,
    folder: Option<&Path>,
    scope: &str,
    person: Option<&str>,
) -> Result<Exit, Failure> {
    let scope = crate::cli::ask::scope(scope)?;
    let Some(folder) = folder else { return online::who(global, &scope, person).await };
    let person = optional(person)?;
    let rows = survey::who(&load(folder)?, &scope, person.as_ref(), now()).map_err(odd)?;
    surveyed(global.output(), &rows, |row| row.agent.clone())
}

fn asked(who: &Who, scope: Scope) -> Result<Ask, Failure> {
    let delegators = who.delegators.iter().map(|text| name(text));
    Ok(Ask {
        agent: who.named()?,
        person: optional(who.person.as_deref())?,
        delegators: delegators.collect::<Result<_, _>>()?,
        scope,
        ttl: None,
        delivery: Delivery::Direct,
        approvals: BTreeSet::new(),
        at: now(),
    })
}

/// Tells the answers to one question: the second, if there is one, is for the other delivery.
pub(super) fn tell(output: Output, question: &str, answers: &[Delivered]) -> Result<Exit, Failure> {
    let mut value: Option<AnswerJson<'_>> = None;
    for one in answers.iter().rev() {
        value = Some(AnswerJson { other: value.map(Box::new), ..AnswerJson::of(one) });
    }
    output.result(&value, || answers.iter().map(|one| explained(question, one)).collect())?;
    Ok(exit::OK)
}

fn explained(asked: &str, Delivered { delivery, answer }: &Delivered) -> String {
    let mut text = format!("{}: {asked}\n", answer.word());
    if let Some(delivery) = delivery {
        text += &format!("  delivery:     {}\n", delivery.word());
    }
    match answer {
        Answer::Allow { ttl, .. } => text += &format!("  longest:      {} s\n", ttl.seconds()),
        Answer::NeedsApproval { ttl, guards, .. } => {
            text += &format!("  longest:      {} s\n", ttl.seconds());
            for guard in guards {
                let groups: Vec<_> = guard.groups.iter().map(GroupName::as_str).collect();
                let (policy, groups) = (&guard.policy, groups.join(" or "));
                text += &format!("  held by:      {policy}, lifted by {groups}: ");
                text += &format!("{}\n", clean(guard.reason.as_str()));
            }
        }
        Answer::Deny { layer, reason, instead, .. } => {
            text += &format!("  layer:        {}\n", layer.word());
            text += &format!("  why:          {}\n", clean(reason));
            for scope in instead {
                text += &format!("  would be:     {}\n", clean(scope));
            }
        }
    }
    let ids: Vec<_> = answer.policies().iter().map(|id| id.as_str()).collect();
    if !ids.is_empty() {
        text += &format!("  policies:     {}\n", ids.join(", "));
    }
    text
}

/// An answer for programs.
#[derive(Serialize)]
pub(super) struct AnswerJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<&'static str>,
    answer: &'static str,
    policies: Vec<&'a str>,
    ttl_seconds: Option<u32>,
    groups: Vec<String>,
    layer: Option<&'static str>,
    reason: Option<&'a str>,
    instead: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<Box<AnswerJson<'a>>>,
}

impl<'a> AnswerJson<'a> {
    fn of(Delivered { delivery, answer }: &'a Delivered) -> Self {
        let (ttl, why, instead): (_, _, &[String]) = match answer {
            Answer::Allow { ttl, .. } | Answer::NeedsApproval { ttl, .. } => (Some(ttl), None, &[]),
            Answer::Deny { layer, reason, instead, .. } => (None, Some((layer, reason)), instead),
        };
        Self {
            agent: None,
            scope: None,
            delivery: delivery.map(Delivery::word),
            answer: answer.word(),
            policies: answer.policies().iter().map(|id| id.as_str()).collect(),
            ttl_seconds: ttl.map(|ttl| ttl.seconds()),
            groups: answer.groups().iter().map(ToString::to_string).collect(),
            layer: why.map(|(layer, _)| layer.word()),
            reason: why.map(|(_, reason)| reason.as_str()),
            instead,
            other: None,
        }
    }
}

pub(super) fn surveyed(
    output: Output,
    rows: &[Row],
    what: impl Fn(&Row) -> String,
) -> Result<Exit, Failure> {
    let flat = || rows.iter().flat_map(|row| row.answers.iter().map(move |one| (row, one)));
    let values: Vec<_> = flat()
        .map(|(row, one)| AnswerJson {
            agent: Some(&row.agent),
            scope: Some(row.scope.to_string()),
            ..AnswerJson::of(one)
        })
        .collect();
    output.result(&values, || {
        let cells = flat().map(|(row, Delivered { delivery, answer })| {
            let (longest, by) = match answer {
                Answer::Allow { ttl, policies } => {
                    (span::short(ttl.seconds().into()), ids(policies))
                }
                Answer::NeedsApproval { ttl, .. } => {
                    let groups: Vec<_> = answer.groups().iter().map(ToString::to_string).collect();
                    (span::short(ttl.seconds().into()), groups.join(" or "))
                }
                Answer::Deny { policies, .. } => (String::new(), ids(policies)),
            };
            let delivery = delivery.map_or("any", Delivery::word).to_owned();
            [what(row), delivery, answer.word().to_owned(), longest, by]
        });
        table(["WHAT", "DELIVERY", "ANSWER", "LONGEST", "BY"], cells)
    })?;
    Ok(exit::OK)
}

fn ids(policies: &[PolicyId]) -> String {
    policies.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ")
}
