//! Checks the names that policies write down, which Cedar's validator takes as they come.
//!
//! Why: a mistyped team in a `forbid` would make it match nobody, in silence.

use cedar_policy::{ActionConstraint, EntityUid, Policy};
use jeton_domain::{
    approval::GroupName,
    principal::PrincipalId,
    scope::{Resource, Upstream},
};

use super::catalogue::Catalogue;

/// Finds `action == Action::"write"`, which would match no action: nobody asks for a whole group.
pub(super) fn group_as_action(policy: &Policy) -> Option<(String, String)> {
    let action = match policy.action_constraint() {
        ActionConstraint::Eq(action) => action,
        ActionConstraint::Any | ActionConstraint::In(_) => return None,
    };
    let id: &str = action.id().unescaped();
    let is_group = ["grant", "read", "write", "admin", "other"].contains(&id);
    is_group.then(|| {
        let message = format!("`{id}` is a group of actions, and no action is equal to it");
        (message, format!("write `action in {action}`"))
    })
}

/// What is wrong with a name, and what to write instead; nothing if it is known.
pub(super) fn wrong(uid: &EntityUid, catalogue: &Catalogue) -> Option<(String, String)> {
    let id: &str = uid.id().unescaped();
    let undeclared = |what: &str| {
        let message = format!("the {what} `{}` is not in the catalogue", id.escape_debug());
        Some((message, format!("add a [[{what}]] of that name, or correct it")))
    };
    match uid.type_name().basename() {
        "Team" if !catalogue.teams.contains(id) => undeclared("team"),
        "Upstream" if !catalogue.upstreams.keys().any(|known| known.as_str() == id) => {
            undeclared("upstream")
        }
        "Group" if !catalogue.groups.contains_key(&GroupName::new(id)) => undeclared("group"),
        "Org" => org(id, catalogue),
        "Resource" => resource(id, catalogue),
        "Agent" | "Person" if PrincipalId::parse(id).is_err() => {
            let hint = "write its whole name, such as `spiffe://acme.dev/agent/build-42`";
            Some((format!("`{}` does not name a principal", id.escape_debug()), hint.into()))
        }
        "Person" => person(id, catalogue),
        // The rest are actions and types, and the validator knows those.
        _ => None,
    }
}

/// Policies see a person under its one name. Why an error: a `forbid` about another name of the
/// person would match nobody, in silence.
fn person(id: &str, catalogue: &Catalogue) -> Option<(String, String)> {
    let name = PrincipalId::parse(id).ok()?;
    let identity = catalogue.people().identity(&name);
    let message = format!("policies see the person `{name}` as `{identity}`");
    (name != identity).then(|| (message, format!("write Jeton::Person::\"{identity}\"")))
}

fn org(id: &str, catalogue: &Catalogue) -> Option<(String, String)> {
    let (_, name) = match parts(id, catalogue) {
        Ok(parts) => parts,
        Err(wrong) => return Some(wrong),
    };
    let message = || format!("the organisation `{}` has a `/`", id.escape_debug());
    name.as_str()
        .contains('/')
        .then(|| (message(), "write `upstream:first-segment`, such as `github:acme`".into()))
}

fn resource(id: &str, catalogue: &Catalogue) -> Option<(String, String)> {
    if !id.contains(':') {
        let known = catalogue.ids.contains(id);
        let message = || format!("no resource of the catalogue has the id `{}`", id.escape_debug());
        let hint = "list it with that id, or write `upstream:name` for one that is not listed";
        return (!known).then(|| (message(), hint.into()));
    }
    let (upstream, name) = match parts(id, catalogue) {
        Ok(parts) => parts,
        Err(wrong) => return Some(wrong),
    };
    let own = catalogue.resource(&upstream, &name)?.id.as_ref()?;
    let message = format!("the resource `{}` goes by its id", id.escape_debug());
    Some((message, format!("write Jeton::Resource::\"{own}\"")))
}

/// Both parts of `upstream:name`, in the spelling that is compared.
fn parts(id: &str, catalogue: &Catalogue) -> Result<(Upstream, Resource), (String, String)> {
    let odd = |words: String| {
        (format!("`{}` matches nothing: {words}", id.escape_debug()), String::new())
    };
    let (upstream, name) = id.split_once(':').ok_or_else(|| odd("write `upstream:name`".into()))?;
    let upstream = Upstream::parse(upstream).map_err(|error| odd(error.to_string()))?;
    if !catalogue.upstreams.contains_key(&upstream) {
        return Err(odd(format!("the catalogue has no [[upstream]] `{upstream}`")));
    }
    let resource = Resource::parse(name).map_err(|error| odd(error.to_string()))?;
    let resource = catalogue.spelling.resource(&upstream, resource);
    if resource.as_str() != name {
        return Err(odd(format!(
            "names of this upstream are compared in lower case; write `{upstream}:{resource}`"
        )));
    }
    Ok((upstream, resource))
}
