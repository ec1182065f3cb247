//! The least that recorded use would have needed: an envelope, and the policies for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use jeton_domain::{
    decision::PolicyId,
    principal::PrincipalId,
    scope::{Action, Resource, Scope, Upstream},
    ttl::Ttl,
};

use crate::{PolicySet, author::replay::Recorded};

/// Refs that are named one by one. Why: beyond, what they have in common says more.
const REFS_NAMED: usize = 3;

/// What was granted of one resource to one agent.
#[derive(Default)]
struct Used {
    actions: BTreeSet<Action>,
    refs: BTreeSet<String>,
    /// Whether it was also asked for on every ref.
    all_refs: bool,
    longest: Option<Ttl>,
    count: u64,
}

/// Collects what was granted.
#[derive(Default)]
pub struct Suggestion {
    used: BTreeMap<PrincipalId, BTreeMap<(Upstream, Resource), Used>>,
    decided: BTreeSet<PolicyId>,
}

impl Suggestion {
    /// Takes a request, if it was granted in the end.
    pub fn take(&mut self, recorded: &Recorded) {
        self.decided.extend(recorded.policies().iter().cloned());
        if !recorded.was_granted() {
            return;
        }
        let asked = recorded.ask();
        let Scope { upstream, resource, actions, git_ref } = &asked.scope;
        let of_agent = self.used.entry(asked.agent.clone()).or_default();
        let used = of_agent.entry((upstream.clone(), resource.clone())).or_default();
        used.actions.extend(actions.iter().cloned());
        match git_ref {
            Some(pattern) => {
                used.refs.insert(pattern.to_string());
            }
            None => used.all_refs = true,
        }
        used.longest = used.longest.max(asked.ttl);
        used.count = used.count.saturating_add(1);
    }

    /// Agents that were granted something.
    pub fn agents(&self) -> impl Iterator<Item = &PrincipalId> {
        self.used.keys()
    }

    /// The smallest envelope for an agent, a line for each resource and kind of ref.
    #[must_use]
    pub fn envelope(&self, agent: &PrincipalId) -> Vec<String> {
        let of_agent = self.used.get(agent).into_iter().flatten();
        of_agent
            .flat_map(|((upstream, resource), used)| {
                let actions: Vec<_> = used.actions.iter().map(ToString::to_string).collect();
                let scope = format!("{upstream}:{resource} {}", actions.join(","));
                let refs = if used.all_refs { vec![] } else { together(&used.refs) };
                match refs.is_empty() {
                    true => vec![scope],
                    false => refs.iter().map(|one| format!("{scope} ref={one}")).collect(),
                }
            })
            .collect()
    }

    /// The policies that give an agent just that, in Cedar.
    #[must_use]
    pub fn policies(&self, set: &PolicySet, agent: &PrincipalId) -> String {
        let mut text = String::new();
        for (place, ((upstream, resource), used)) in
            self.used.get(agent).into_iter().flatten().enumerate()
        {
            let actions: Vec<_> = used
                .actions
                .iter()
                .map(|one| format!("Jeton::Action::{}", quoted(one.as_str())))
                .collect();
            let own = set.catalogue().resource(upstream, resource).and_then(|one| one.id.clone());
            let id = own.unwrap_or_else(|| format!("{upstream}:{resource}"));
            let mut conditions = Vec::new();
            if let Some(longest) = used.longest {
                conditions.push(format!("context.ttl <= {}", longest.seconds()));
            }
            if !used.all_refs {
                let refs = together(&used.refs);
                let tests: Vec<_> = refs.iter().map(|one| test(one)).collect();
                conditions.push("context has ref".to_owned());
                conditions.push(match tests.as_slice() {
                    [one] => one.clone(),
                    many => format!("({})", many.join(" || ")),
                });
            }
            // Why no error: writing to a text does not fail.
            let _ = write!(
                text,
                "// Used {} times.\n@id(\"suggested-{}-{}\")\npermit (\n    principal == Jeton::Agent::{},\n    action in [{}],\n    resource == Jeton::Resource::{}\n)\nwhen {{ {} }};\n\n",
                used.count,
                slug(agent),
                place.saturating_add(1),
                quoted(agent.as_str()),
                actions.join(", "),
                quoted(&id),
                conditions.join(" && "),
            );
        }
        text
    }

    /// Policies about grants that decided nothing that was asked.
    #[must_use]
    pub fn never_decided(&self, set: &PolicySet) -> Vec<PolicyId> {
        set.about_grants().filter(|id| !self.decided.contains(id)).collect()
    }
}

/// Refs as they are, if they are few, or the folders that they are in.
fn together(refs: &BTreeSet<String>) -> Vec<String> {
    if refs.len() <= REFS_NAMED {
        return refs.iter().cloned().collect();
    }
    let folder = |one: &String| match one.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/*"),
        None => one.clone(),
    };
    let folders: BTreeSet<_> = refs.iter().map(folder).collect();
    folders.into_iter().collect()
}

fn test(one: &str) -> String {
    if one.contains('*') {
        format!("context.ref like {}", quoted(one))
    } else {
        format!("context.ref == {}", quoted(one))
    }
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// The end of a name, in letters that an id may have.
fn slug(agent: &PrincipalId) -> String {
    let end = agent.as_str().rsplit('/').next().unwrap_or_default();
    let good = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    end.chars().map(good).take(40).collect()
}
