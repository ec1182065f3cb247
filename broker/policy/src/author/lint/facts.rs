//! Policies held against the catalogue: names and facts that it does not have.

use cedar_policy::{Effect, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use jeton_domain::scope::{Resource, Upstream};
use serde_json::Value;

use crate::catalogue::{Catalogue, Listed};

/// What is odd about one policy: kinds and words.
pub(super) fn look(
    catalogue: &Catalogue,
    policy: &Policy,
    conditions: &[Value],
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for uid in policy.entity_literals() {
        if uid.type_name().basename() == "Resource" && !is_listed(catalogue, uid.id().unescaped()) {
            found.push((
                "resource unknown",
                format!("the catalogue does not list {uid}; correct it, or list it: nothing is known about it but its name"),
            ));
        }
    }
    for (attribute, value) in conditions.iter().flat_map(facts) {
        let has = |listed: &Listed| match attribute {
            "tier" => listed.tier.as_ref() == Some(&value),
            _ => listed.labels.contains(&value),
        };
        if !catalogue.resources.values().any(has) {
            found.push((
                "resource unknown",
                format!(
                    "no listed resource has the {attribute} `{value}`; correct it, or list one"
                ),
            ));
        }
    }
    for (end, team) in teams(policy) {
        let agents = catalogue.agents.iter().any(|rule| rule.teams.contains(team.as_str()));
        let mut people = catalogue.persons.values();
        if !agents && (end == "resource" || !people.any(|teams| teams.contains(team.as_str()))) {
            found.push((
                "never matches",
                format!("nobody is in the team `{team}`; add a [[person]] or an [[agent]] to it"),
            ));
        }
    }
    let guards = policy.annotation("approvers").is_some();
    let lifted = conditions.iter().any(|condition| super::reads(condition, "approvals"));
    if guards && policy.effect() == Effect::Forbid && !lifted {
        found.push((
            "guard without approvers",
            "`@approvers` lifts nothing; add `unless { context.approvals.contains(Jeton::Group::\"…\") }`".to_owned(),
        ));
    }
    found.sort();
    found.dedup();
    found
}

fn is_listed(catalogue: &Catalogue, id: &str) -> bool {
    let by_name = || {
        let (upstream, name) = id.split_once(':')?;
        catalogue.resource(&Upstream::parse(upstream).ok()?, &Resource::parse(name).ok()?)
    };
    // One that goes by an id is listed: loading saw to it.
    !id.contains(':') || by_name().is_some()
}

/// The teams that one end has to be in.
fn teams(policy: &Policy) -> Vec<(&'static str, String)> {
    let principal = match policy.principal_constraint() {
        PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => Some(uid),
        PrincipalConstraint::Any | PrincipalConstraint::Eq(_) | PrincipalConstraint::Is(_) => None,
    };
    let resource = match policy.resource_constraint() {
        ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => Some(uid),
        ResourceConstraint::Any | ResourceConstraint::Eq(_) | ResourceConstraint::Is(_) => None,
    };
    let team = |(end, uid): (&'static str, Option<EntityUid>)| {
        let uid = uid.filter(|uid| uid.type_name().basename() == "Team")?;
        Some((end, uid.id().unescaped().to_owned()))
    };
    [("principal", principal), ("resource", resource)].into_iter().filter_map(team).collect()
}

/// The tiers and labels that are asked for, wherever that stands.
fn facts(node: &Value) -> Vec<(&'static str, String)> {
    let mut found: Vec<_> =
        ["==", "!=", "contains"].into_iter().filter_map(|join| fact(node, join)).collect();
    match node {
        Value::Array(items) => found.extend(items.iter().flat_map(facts)),
        Value::Object(fields) => found.extend(fields.values().flat_map(facts)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found
}

fn fact(node: &Value, join: &str) -> Option<(&'static str, String)> {
    let join = node.get(join)?;
    let (left, right) = (join.get("left")?, join.get("right")?);
    let attribute = |node: &Value| {
        let access = node.get(".")?;
        let of = access.get("left")?.get("Var")?.as_str()?;
        let known = ["tier", "labels"].into_iter().zip(["tier", "label"]);
        let name = access.get("attr")?.as_str()?;
        let (_, word) = known.into_iter().find(|(known, _)| *known == name)?;
        (of == "resource").then_some(word)
    };
    let text = |node: &Value| Some(node.get("Value")?.as_str()?.to_owned());
    attribute(left).zip(text(right)).or_else(|| attribute(right).zip(text(left)))
}
