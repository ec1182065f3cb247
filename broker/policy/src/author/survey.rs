//! What an agent may do, and who may do something: each question that the catalogue suggests, asked.

use std::collections::BTreeSet;

use jeton_domain::{
    decision::Delivery,
    pattern::Pattern,
    principal::PrincipalId,
    scope::{Actions, Resource, Scope, Upstream},
    ttl::Timestamp,
};

use super::ask::{Ask, AskError, DELIVERIES, Delivered, ask, by_delivery};
use crate::PolicySet;

/// The answers to one of the questions.
pub struct Row {
    /// Who.
    pub agent: String,
    /// What.
    pub scope: Scope,
    /// The answers, one for each delivery if they differ.
    pub answers: Vec<Delivered>,
}

/// What one agent may do with the listed resources, and with one that is not listed of each
/// organisation that one is listed of. For actions that write, on its own refs and on all.
///
/// # Errors
/// When no session could ask this.
pub fn can(
    set: &PolicySet,
    agent: &PrincipalId,
    person: Option<&PrincipalId>,
    now: Timestamp,
) -> Result<Vec<Row>, AskError> {
    scopes(set).map(|scope| one(set, (agent, person), scope?, DELIVERIES, now)).collect()
}

/// What [`can`] asks for.
pub fn scopes(set: &PolicySet) -> impl Iterator<Item = Result<Scope, AskError>> + '_ {
    set.resources().into_iter().flat_map(|(upstream, resource)| {
        let actions = set.actions(&upstream);
        actions.into_iter().flat_map(move |action| {
            let own = Pattern::parse("agent/*").ok().filter(|_| action.level() != "read");
            let refs = [Some(None), own.map(Some)];
            let (upstream, resource) = (upstream.clone(), resource.clone());
            refs.into_iter().flatten().map(move |git_ref| {
                let (upstream, resource) = (upstream.clone(), resource.clone());
                let actions = Actions::new([action.clone()])?;
                Ok(Scope { upstream, resource, actions, git_ref })
            })
        })
    })
}

/// Asks one of the questions, about each of these deliveries.
///
/// # Errors
/// When no session could ask it.
pub fn one(
    set: &PolicySet,
    (agent, person): (&PrincipalId, Option<&PrincipalId>),
    scope: Scope,
    deliveries: &[Delivery],
    now: Timestamp,
) -> Result<Row, AskError> {
    let asked = asking(agent, person, &scope, now);
    let answers = by_delivery(deliveries, |delivery| ask(set, &Ask { delivery, ..asked.clone() }))?;
    Ok(Row { agent: agent.to_string(), scope, answers })
}

/// Who of the listed agents may do this: each entry of the catalogue, by a name that it matches.
///
/// # Errors
/// When no session could ask this.
pub fn who(
    set: &PolicySet,
    scope: &Scope,
    person: Option<&PrincipalId>,
    now: Timestamp,
) -> Result<Vec<Row>, AskError> {
    let named = |(pattern, example): (String, PrincipalId)| {
        let row = one(set, (&example, person), scope.clone(), DELIVERIES, now)?;
        Ok(Row { agent: pattern, ..row })
    };
    examples(set).map(named).collect()
}

/// The listed agents: each pattern, and a name that it matches.
pub fn examples(set: &PolicySet) -> impl Iterator<Item = (String, PrincipalId)> + '_ {
    let example = |pattern: &str| {
        let name = pattern.replace("**", "any").replace('*', "any");
        PrincipalId::parse(&name).ok()
    };
    let rules = set.catalogue.agents.iter().map(|rule| rule.who.to_string());
    rules.filter_map(move |pattern| example(&pattern).map(|name| (pattern, name)))
}

fn asking(agent: &PrincipalId, person: Option<&PrincipalId>, scope: &Scope, now: Timestamp) -> Ask {
    Ask {
        agent: agent.clone(),
        person: person.cloned(),
        delegators: vec![],
        scope: scope.clone(),
        ttl: None,
        delivery: Delivery::Direct,
        approvals: BTreeSet::new(),
        at: now,
    }
}

impl PolicySet {
    /// The listed resources, and for each organisation one that is not.
    fn resources(&self) -> BTreeSet<(Upstream, Resource)> {
        let listed = self.catalogue.resources.keys();
        let mut all: BTreeSet<_> = listed.cloned().collect();
        let orgs: BTreeSet<_> = all
            .iter()
            .filter_map(|(upstream, resource)| {
                let (org, _) = resource.as_str().split_once('/')?;
                Some((upstream.clone(), Resource::parse(&format!("{org}/any-other")).ok()?))
            })
            .collect();
        all.extend(orgs);
        all
    }
}
