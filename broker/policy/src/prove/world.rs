//! What holds of every request that the broker puts to its policies, beyond what the schema says.
//!
//! Why: a solver that did not know would find requests that nobody can make, such as one for a life of
//! minus five seconds. All of it is written in Cedar, as forbids, so that the evaluator that confirms
//! a counter-example holds it to the same. The generated tests put real requests to them.
//!
//! A directly delivered credential may be used for any push and any call, so such a request has whatever one
//! could have; the policies are put to it as [`super::delivery`] says.
//!
//! Which upstream knows which action is not among it: a broker may know more than the catalogue lists.

use std::collections::BTreeSet;

use cedar_policy::{EntityUid, Policy, PolicyId as CedarId, PolicySet as CedarSet};
use jeton_domain::{
    limits::{DELEGATION_DEPTH, GRANT_TTL_SECONDS, SESSION_TTL_SECONDS},
    principal::PrincipalId,
    scope::{Resource, Upstream},
};

use crate::{PolicySet, limits::FACTS_OF_PROOF};

/// Every request, as it is before any of the rest.
pub(super) const ANY: &str = "permit (principal, action, resource);";

/// The forbids, for what a set and some more policies name.
pub(super) fn of<'p>(
    set: &PolicySet,
    policies: impl Iterator<Item = &'p Policy>,
) -> Result<Vec<Policy>, String> {
    let named: BTreeSet<_> = policies.flat_map(Policy::entity_literals).collect();
    let mut texts = bounds();
    texts.extend(places(&named));
    let facts = named.iter().filter_map(|uid| facts(set, uid)).take(FACTS_OF_PROOF);
    texts.extend(facts.flatten());
    let parse = |(number, text): (usize, &String)| {
        // No `@id` has a blank, so no policy has this one.
        Policy::parse(Some(CedarId::new(format!("world {number}"))), text)
            .map_err(|error| format!("{error}: {text}"))
    };
    texts.iter().enumerate().map(parse).collect()
}

/// Adds policies to a set.
pub(super) fn joined(
    policies: impl IntoIterator<Item = Policy>,
    world: &[Policy],
) -> Result<CedarSet, String> {
    CedarSet::from_policies(policies.into_iter().chain(world.iter().cloned()))
        .map_err(|error| error.to_string())
}

/// What is so for everybody.
fn bounds() -> Vec<String> {
    let passed_on = format!(
        "context.depth >= 0 && context.depth <= {DELEGATION_DEPTH} && (context.depth == 0) == context.delegators.isEmpty()"
    );
    vec![
        format!(
            "forbid (principal, action in {GRANT}, resource) unless {{
                context.ttl >= 1 && context.ttl <= {GRANT_TTL_SECONDS} && {passed_on} &&
                (context.delivery == \"direct\" || context.delivery == \"gateway\") &&
                (if context has ref then context.ref != \"\" else true) &&
                (if context has change then
                    context has ref &&
                    (context.change == \"create\" || context.change == \"update\" ||
                        context.change == \"delete\" || context.change == \"force\") &&
                    !(context has method)
                 else !(context has file) && !(context has author)) &&
                (context has author) == (context has signed_off) &&
                (if context has bytes then context has file && context.bytes >= 0 else true) &&
                (if context has file then !(context has author) else true) &&
                (context has method) == (context has path) &&
                (context has operation) == (context has fields) &&
                (if context has operation then
                    context has method && context.method == \"POST\" &&
                    (context.operation == \"query\" || context.operation == \"mutation\")
                 else true) &&
                principal.trust >= 0 && principal.trust <= 10 &&
                resource in resource.upstream
            }};"
        ),
        format!(
            "forbid (principal, action == {OPEN}, resource) unless {{
                context.ttl >= 1 && context.ttl <= {SESSION_TTL_SECONDS} && {passed_on} &&
                resource.trust >= 0 && resource.trust <= 10
            }};"
        ),
        format!(
            "forbid (principal is Jeton::Agent, action == {OPEN}, resource) unless {{
                principal.trust >= 0 && principal.trust <= 10
            }};"
        ),
    ]
}

const GRANT: &str = "Jeton::Action::\"grant\"";
const OPEN: &str = "Jeton::Action::\"open_session\"";

/// A resource is in one upstream and in at most one organisation of it.
fn places(named: &BTreeSet<EntityUid>) -> Vec<String> {
    let of = |kind: &'static str| {
        named.iter().filter(move |uid| uid.type_name().basename() == kind).collect::<Vec<_>>()
    };
    let mut texts = Vec::new();
    for upstream in of("Upstream") {
        texts.push(format!(
            "forbid (principal, action in {GRANT}, resource in {upstream}) unless {{ resource.upstream == {upstream} }};"
        ));
    }
    let orgs = of("Org");
    for (place, org) in orgs.iter().enumerate().take(FACTS_OF_PROOF) {
        let (upstream, _) = org.id().unescaped().split_once(':').unwrap_or_default();
        texts.push(format!(
            "forbid (principal, action in {GRANT}, resource in {org}) unless {{ resource.upstream == Jeton::Upstream::\"{}\" }};",
            upstream.escape_debug()
        ));
        let others: Vec<_> = orgs
            .iter()
            .skip(place + 1)
            .take_while(|other| other.id().unescaped().starts_with(&format!("{upstream}:")))
            .map(|other| format!("resource in {other}"))
            .collect();
        if !others.is_empty() {
            texts.push(format!(
                "forbid (principal, action in {GRANT}, resource in {org}) when {{ {} }};",
                others.join(" || ")
            ));
        }
    }
    texts
}

/// What the catalogue says of something that is named.
fn facts(set: &PolicySet, uid: &EntityUid) -> Option<Vec<String>> {
    let id = uid.id().unescaped();
    match uid.type_name().basename() {
        "Resource" => Some(vec![format!(
            "forbid (principal, action in {GRANT}, resource == {uid}) unless {{ {} }};",
            resource(set, id)?
        )]),
        "Agent" => {
            let facts = set.catalogue.agent(&PrincipalId::parse(id).ok()?);
            let who = |end: &str| {
                let teams = teams(set, end, |team| facts.teams.contains(team));
                format!("{end}.name == {} && {end}.trust == {}{teams}", text(id), facts.trust)
            };
            let (asks, runs) = (who("principal"), who("resource"));
            Some(vec![
                format!("forbid (principal == {uid}, action, resource) unless {{ {asks} }};"),
                format!(
                    "forbid (principal, action == {OPEN}, resource == {uid}) unless {{ {runs} }};"
                ),
            ])
        }
        "Person" => {
            let person = PrincipalId::parse(id).ok()?;
            let of: BTreeSet<_> = set.catalogue.teams_of(&person).collect();
            let who = |end: &str| {
                let teams = teams(set, end, |team| of.contains(team));
                format!("{end}.name == {}{teams}", text(id))
            };
            let (opens, behind) = (who("principal"), who("context.person"));
            Some(vec![
                format!(
                    "forbid (principal == {uid}, action == {OPEN}, resource) unless {{ {opens} }};"
                ),
                format!(
                    "forbid (principal, action, resource) when {{ context has person && context.person == {uid} }} unless {{ context has person && {behind} }};"
                ),
            ])
        }
        _ => None,
    }
}

fn resource(set: &PolicySet, id: &str) -> Option<String> {
    let by_id = set.catalogue.resources.iter().find(|(_, one)| one.id.as_deref() == Some(id));
    let ((upstream, name), listed) = match by_id {
        Some((place, listed)) => (place.clone(), Some(listed)),
        None => {
            let (upstream, name) = id.split_once(':')?;
            let place = (Upstream::parse(upstream).ok()?, Resource::parse(name).ok()?);
            let listed = set.catalogue.resource(&place.0, &place.1);
            (place, listed)
        }
    };
    let has = |attribute: &str, value: Option<String>| match value {
        Some(value) => format!("resource has {attribute} && resource.{attribute} == {value}"),
        None => format!("!(resource has {attribute})"),
    };
    let labels: Vec<_> =
        listed.iter().flat_map(|listed| &listed.labels).map(|label| text(label)).collect();
    let org = set.names.org(&upstream, &name);
    let parts = [
        format!("resource.name == {}", text(name.as_str())),
        format!("resource.upstream == {}", set.names.upstream(&upstream)),
        org.map_or_else(|| "true".to_owned(), |org| format!("resource in {org}")),
        has("tier", listed.and_then(|one| one.tier.as_ref()).map(|tier| text(tier))),
        has("owner", {
            let owner = listed.and_then(|one| one.owner.as_ref());
            owner.map(|owner| set.names.team(owner).to_string())
        }),
        match labels.as_slice() {
            [] => "resource.labels.isEmpty()".to_owned(),
            labels => format!("resource.labels == [{}]", labels.join(", ")),
        },
    ];
    Some(parts.join(" && "))
}

fn teams(set: &PolicySet, end: &str, of: impl Fn(&str) -> bool) -> String {
    let one = |team: &String| {
        let not = if of(team) { "" } else { "!" };
        format!(" && {not}({end} in {})", set.names.team(team))
    };
    set.catalogue.teams.iter().map(one).collect()
}

/// A text as Cedar writes it.
fn text(plain: &str) -> String {
    format!("\"{}\"", plain.escape_debug())
}
