//! What an agent may do, and who may do something: each question that the catalogue suggests, asked.

use std::collections::BTreeSet;

use jeton_domain::{
    decision::Delivery,
    pattern::Pattern,
    principal::PrincipalId,
    scope::{Actions, Resource, Scope, Upstream},
    ttl::Timestamp,
};

use super::ask::{Answer, Ask, AskError, ask};
use crate::PolicySet;

/// An answer to one of the questions.
pub struct Row {
    /// Who.
    pub agent: String,
    /// What.
    pub scope: Scope,
    /// The answer.
    pub answer: Answer,
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
    let own = Pattern::parse("agent/*").ok();
    let mut rows = Vec::new();
    for (upstream, resource) in set.resources() {
        for action in set.actions(&upstream) {
            let actions = Actions::new([action.clone()])?;
            let refs = match action.level() {
                "read" => vec![None],
                _ => vec![None, own.clone()],
            };
            for git_ref in refs {
                let (upstream, resource) = (upstream.clone(), resource.clone());
                let scope = Scope { upstream, resource, actions: actions.clone(), git_ref };
                let answer = ask(set, &asking(agent, person, &scope, now))?;
                rows.push(Row { agent: agent.to_string(), scope, answer });
            }
        }
    }
    Ok(rows)
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
    let mut rows = Vec::new();
    for (pattern, example) in set.agents() {
        let answer = ask(set, &asking(&example, person, scope, now))?;
        rows.push(Row { agent: pattern, scope: scope.clone(), answer });
    }
    Ok(rows)
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

    /// The listed agents: each pattern, and a name that it matches.
    fn agents(&self) -> Vec<(String, PrincipalId)> {
        let example = |pattern: &str| {
            let name = pattern.replace("**", "any").replace('*', "any");
            PrincipalId::parse(&name).ok()
        };
        let rules = self.catalogue.agents.iter().map(|rule| rule.who.to_string());
        rules.filter_map(|pattern| example(&pattern).map(|name| (pattern, name))).collect()
    }
}
