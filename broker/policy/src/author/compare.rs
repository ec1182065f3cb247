//! Two sets of policies, and in words what differs between them.

use std::collections::BTreeMap;

use jeton_domain::decision::{PolicyId, Rules};
use serde_json::Value;

use crate::PolicySet;

/// What differs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Lines for people, each about one thing.
    pub lines: Vec<String>,
}

/// Compares two sets.
#[must_use]
pub fn compare(old: &PolicySet, new: &PolicySet) -> Difference {
    let mut lines = Vec::new();
    if old.hash() == new.hash() {
        return Difference { lines };
    }
    policies(old, new, &mut lines);
    lines.extend(facts_that_differ(old, new));
    if lines.is_empty() {
        lines.push("only comments, blanks or the order differ".to_owned());
    }
    Difference { lines }
}

/// What the catalogues say otherwise, a line each.
#[must_use]
pub fn facts_that_differ(old: &PolicySet, new: &PolicySet) -> Vec<String> {
    let mut lines = Vec::new();
    let (before, after) = (facts(old), facts(new));
    for (title, text) in &after {
        match before.get(title) {
            None => lines.push(format!("new: {title}{}", aside(text))),
            Some(was) if was != text => {
                lines.push(format!("changed: {title}: {was} → {text}"));
            }
            Some(_) => {}
        }
    }
    for (title, _) in before.iter().filter(|(title, _)| !after.contains_key(*title)) {
        lines.push(format!("gone: {title}"));
    }
    lines
}

fn policies(old: &PolicySet, new: &PolicySet, lines: &mut Vec<String>) {
    let read = |set: &PolicySet| -> BTreeMap<PolicyId, (String, Value)> {
        let policies = set.policies();
        let json = |policy: &cedar_policy::Policy| policy.to_json().unwrap_or_default();
        policies.map(|(id, policy)| (id, (policy.effect().to_string(), json(policy)))).collect()
    };
    let (before, after) = (read(old), read(new));
    for (id, (effect, json)) in &after {
        match before.get(id) {
            None => lines.push(format!("new: {effect} `{id}`")),
            Some((_, was)) if was != json => {
                let parts =
                    ["effect", "principal", "action", "resource", "conditions", "annotations"];
                let changed = parts.into_iter().filter(|part| was.get(part) != json.get(part));
                let changed: Vec<_> = changed.collect();
                lines.push(format!("changed: {effect} `{id}`: its {}", changed.join(", ")));
            }
            Some(_) => {}
        }
    }
    for (id, (effect, _)) in before.iter().filter(|(id, _)| !after.contains_key(*id)) {
        lines.push(format!("gone: {effect} `{id}`"));
    }
}

/// What the catalogue says, each fact under a title.
fn facts(set: &PolicySet) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let catalogue = &set.catalogue;
    let joined = |words: &mut dyn Iterator<Item = String>| words.collect::<Vec<_>>().join(", ");
    for team in &catalogue.teams {
        facts.insert(format!("team `{team}`"), String::new());
    }
    for (upstream, actions) in &catalogue.upstreams {
        let actions = joined(&mut actions.iter().map(ToString::to_string));
        facts.insert(format!("upstream `{upstream}`"), actions);
    }
    for ((upstream, resource), listed) in &catalogue.resources {
        let part =
            |name: &str, text: &Option<String>| text.as_ref().map(|text| format!("{name} {text}"));
        let labels = listed.labels.iter().map(|label| format!("label {label}"));
        let parts =
            [part("id", &listed.id), part("tier", &listed.tier), part("owner", &listed.owner)];
        let text = joined(&mut parts.into_iter().flatten().chain(labels));
        facts.insert(format!("resource `{upstream}:{resource}`"), text);
    }
    for rule in catalogue.agents.iter() {
        let trust = rule.trust.map(|trust| format!("trust {trust}"));
        let teams = rule.teams.iter().map(|team| format!("team {team}"));
        // Why not inserted: the same pattern may stand there more than once, and each entry counts.
        let entries: &mut String = facts.entry(format!("agents `{}`", rule.who)).or_default();
        let and = if entries.is_empty() { "" } else { " and " };
        *entries += &format!("{and}{}", joined(&mut teams.chain(trust)));
    }
    for (person, teams) in &catalogue.persons {
        let teams = teams.iter().map(|team| format!("team {team}"));
        let names = catalogue.people().names(person);
        let aliases = names.iter().filter(|name| *name != person);
        let aliases = aliases.map(|name| format!("alias {name}"));
        let accounts = catalogue.people().accounts(person);
        let accounts = accounts.map(|one| format!("account {} of {}", one.subject, one.issuer));
        let text = joined(&mut teams.chain(aliases).chain(accounts));
        facts.insert(format!("person `{person}`"), text);
    }
    for (name, group) in &catalogue.groups {
        let claimed = group.claimed.iter().map(|(issuer, name)| format!("{name} of {issuer}"));
        let members = group.members.iter().map(ToString::to_string).chain(claimed);
        let mut terms = vec![format!("quorum {}", group.terms.quorum)];
        if group.terms.reason {
            terms.push("reason wanted".to_owned());
        }
        if let Some(session) = group.terms.session {
            let (grants, seconds) = (session.grants, session.ttl.seconds());
            terms.push(format!("for a session {grants} grants and {seconds} s"));
        }
        terms.extend(group.reviewer.iter().map(|reviewer| format!("reviewer {reviewer}")));
        facts.insert(format!("group `{name}`"), joined(&mut members.chain(terms)));
    }
    for (name, bounds) in &catalogue.reviewers {
        let within = bounds.within.iter().map(|line| format!("within {line}"));
        let life = format!("{} s", bounds.ttl.seconds());
        let often = bounds.grants.map(|grants| format!("{grants} grants in a session"));
        let text = joined(&mut within.chain([life]).chain(often));
        facts.insert(format!("reviewer `{name}`"), text);
    }
    for route in &catalogue.routes {
        let name = format!("route {} `{}`", route.upstream, route.title());
        facts.insert(name, route.meaning());
    }
    facts
}

fn aside(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}
