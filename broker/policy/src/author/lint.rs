//! What a set may hold that its author hardly meant, although every policy in it is sound.

mod facts;

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, Effect, Policy, PrincipalConstraint, ResourceConstraint};
use jeton_domain::{decision::PolicyId, route::Route};
use serde_json::Value;

use crate::{PolicySet, guard, policy_file::ALLOW_DIRECT};

/// Something to look at twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The policy.
    pub policy: PolicyId,
    /// A word for the kind of it.
    pub kind: &'static str,
    /// What is odd, and what to do.
    pub words: String,
}

/// A route of the catalogue to look at twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFinding {
    /// The upstream and the route.
    pub route: String,
    /// A word for the kind of it.
    pub kind: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is odd, and what to do.
    pub words: String,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It is likely a mistake.
    Warning,
    /// It is written on purpose, and listed so that a reviewer sees it.
    Information,
}

/// Looks at every route. In the order of the catalogue.
#[must_use]
pub fn routes(set: &PolicySet) -> Vec<RouteFinding> {
    let all = &set.catalogue.routes;
    all.iter().flat_map(|route| graphql(all, route).into_iter().chain(wide(route))).collect()
}

/// What is odd about a route that takes GraphQL without reading it.
fn graphql(all: &[Route], route: &Route) -> Option<RouteFinding> {
    if !route.swallows_graphql() {
        return None;
    }
    let beside = all.iter().any(|other| other.speaks_graphql_beside(route));
    let (kind, words) = match beside {
        true => ("never asked", "another route takes the same path for GraphQL, and nothing else is taken there then; take this one out".to_owned()),
        false => ("graphql unseen", format!("a query and any mutation are `{}` to it; say `graphql` and `fields`", route.action)),
    };
    Some(found(route, kind, Severity::Warning, words))
}

/// What a route lets pass that nobody decides about.
fn wide(route: &Route) -> Vec<RouteFinding> {
    let mut findings = Vec::new();
    let mut add = |kind, words: &str| {
        findings.push(found(route, kind, Severity::Information, words.to_owned()));
    };
    if route.allows_any_query() {
        add(
            "any query",
            "any key of a query reaches the upstream, also one that changes what the call does or for whom; list the keys in `query`",
        );
    }
    if route.allows_any_body() {
        add(
            "any body",
            "any body reaches the upstream, and no rule decides about its keys; list them in `body`",
        );
    }
    for name in route.headers().names().filter(|name| names_an_identity(name)) {
        let words = format!(
            "`{name}` sounds like one that says who calls or for which tenant; the agent chooses its value, and no rule decides about it"
        );
        add("identity header", &words);
    }
    findings
}

fn found(route: &Route, kind: &'static str, severity: Severity, words: String) -> RouteFinding {
    let route = format!("{} {}", route.upstream, route.title());
    RouteFinding { route, kind, severity, words }
}

/// Whether a header sounds like one that says who calls or for whom.
fn names_an_identity(name: &str) -> bool {
    const PARTS: [&str; 22] = [
        "account",
        "assert",
        "auth",
        "credential",
        "customer",
        "email",
        "group",
        "identity",
        "ip",
        "namespace",
        "org",
        "orgid",
        "password",
        "project",
        "role",
        "scope",
        "secret",
        "session",
        "tenant",
        "token",
        "user",
        "workspace",
    ];
    name.split('-').any(|part| PARTS.contains(&part) || part == "apikey")
        || name.ends_with("-api-key")
        || name.contains("protocol") && name.starts_with("sec-websocket")
}

/// What the set means for direct delivery: which policies deny it, and which opt out of that. No faults.
#[must_use]
pub fn deliveries(set: &PolicySet) -> Vec<Finding> {
    let note = |(id, policy): (PolicyId, &Policy)| {
        let reads = gateway_only(policy);
        if reads.is_empty() {
            return None;
        }
        let (kind, words) = match policy.annotation(ALLOW_DIRECT) {
            Some(reason) => (
                "direct delivery allowed",
                format!(
                    "it reads {}, and binds nobody who holds a credential: {reason}",
                    shown(&reads)
                ),
            ),
            None => (
                "gateway only",
                format!(
                    "it reads {}, and denies direct delivery of what it is about",
                    shown(&reads)
                ),
            ),
        };
        Some(Finding { policy: id, kind, words })
    };
    set.policies().filter_map(note).collect()
}

/// What a policy reads that exists only for a push or a call.
fn gateway_only(policy: &Policy) -> BTreeSet<String> {
    let reads = policy.to_json().ok().and_then(|json| guard::read(&json).ok());
    reads.map(|reads| reads.gateway_only).unwrap_or_default()
}

fn shown(attributes: &BTreeSet<String>) -> String {
    attributes.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A policy as the lints look at it.
struct Seen<'a> {
    id: PolicyId,
    policy: &'a Policy,
    json: Value,
}

impl Seen<'_> {
    fn permits(&self) -> bool {
        self.policy.effect() == Effect::Permit
    }

    fn conditions(&self) -> &[Value] {
        self.json.get("conditions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn reads(&self, attribute: &str) -> bool {
        self.conditions().iter().any(|condition| reads(condition, attribute))
    }

    fn part(&self, name: &str) -> Option<&Value> {
        self.json.get(name)
    }

    /// What decides, without the words about it.
    fn body(&self) -> Value {
        let mut body = self.json.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.remove("annotations");
        }
        body
    }
}

/// Looks at every policy. In the order of their ids.
#[must_use]
pub fn lint(set: &PolicySet) -> Vec<Finding> {
    let all: Vec<_> = set
        .policies()
        .filter_map(|(id, policy)| Some(Seen { id, policy, json: policy.to_json().ok()? }))
        .collect();
    let mut found: Vec<_> = all.iter().flat_map(one).collect();
    for seen in &all {
        let facts = facts::look(&set.catalogue, seen.policy, seen.conditions());
        let finding = |(kind, words)| Finding { policy: seen.id.clone(), kind, words };
        found.extend(facts.into_iter().map(finding));
    }
    for (place, later) in all.iter().enumerate() {
        found.extend(all.iter().take(place).filter_map(|earlier| two(earlier, later)));
    }
    found.sort_by(|a, b| (&a.policy, a.kind).cmp(&(&b.policy, b.kind)));
    found
}

fn one(seen: &Seen<'_>) -> Vec<Finding> {
    let finding =
        |kind, words: &str| Finding { policy: seen.id.clone(), kind, words: words.to_owned() };
    let mut found = Vec::new();
    if seen.permits() && is_for_all(seen.policy) && seen.conditions().is_empty() {
        found.push(finding(
            "matches everything",
            "it permits everything to everybody; say who may do what on which resource",
        ));
    }
    if seen.permits() && gives_grants(seen.policy) && !seen.reads("ttl") {
        found.push(finding(
            "no expiry",
            "credentials may live as long as the broker lets any; add `context.ttl <= 15 * 60` or so",
        ));
    }
    let forbids_for_ever = !seen.permits() && is_for_all(seen.policy);
    if forbids_for_ever && seen.conditions().is_empty() {
        found.push(finding("matches everything", "nothing is ever granted to anybody"));
    }
    if seen.policy.annotation(ALLOW_DIRECT).is_some() && gateway_only(seen.policy).is_empty() {
        found.push(finding(
            "no effect",
            "it reads nothing of a push or a call, so it never denies direct delivery; remove `@allow_direct`",
        ));
    }
    if !seen.permits()
        && seen.policy.annotation("reason").is_none_or(|words| words.trim().is_empty())
    {
        found.push(finding(
            "no reason",
            "whoever is refused reads the policy's `@reason`; say there what to do instead",
        ));
    }
    found
}

/// Two that say the same, or of which one says all that the other does.
fn two(earlier: &Seen<'_>, later: &Seen<'_>) -> Option<Finding> {
    if earlier.policy.effect() != later.policy.effect() {
        return None;
    }
    if earlier.body() == later.body() {
        return Some(Finding {
            policy: later.id.clone(),
            kind: "repeated",
            words: format!("`{}` says the same; keep one of them", earlier.id),
        });
    }
    let (wide, narrow) = match (covers(earlier, later), covers(later, earlier)) {
        (true, _) => (earlier, later),
        (false, true) => (later, earlier),
        (false, false) => return None,
    };
    Some(Finding {
        policy: narrow.id.clone(),
        kind: "shadowed",
        words: format!("`{}` says it already, for more; take this one out, or that", wide.id),
    })
}

/// Whether the first applies wherever the second does. Says no where that is not plain to see.
fn covers(wide: &Seen<'_>, narrow: &Seen<'_>) -> bool {
    let part = |name: &str| {
        let (wide, narrow) = (wide.part(name), narrow.part(name));
        wide == narrow
            || wide.and_then(|part| part.get("op")).and_then(Value::as_str) == Some("All")
    };
    let conditions = wide.conditions().iter().all(|one| narrow.conditions().contains(one));
    conditions && ["principal", "action", "resource"].into_iter().all(part)
}

fn is_for_all(policy: &Policy) -> bool {
    policy.principal_constraint() == PrincipalConstraint::Any
        && policy.action_constraint() == ActionConstraint::Any
        && policy.resource_constraint() == ResourceConstraint::Any
}

/// Whether it may be about grants, and not only about opening sessions.
pub(crate) fn gives_grants(policy: &Policy) -> bool {
    let opens = |id: &cedar_policy::EntityUid| id.id().unescaped() == "open_session";
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::In(ids) => !ids.iter().all(opens),
        ActionConstraint::Eq(id) => !opens(&id),
    }
}

fn reads(node: &Value, attribute: &str) -> bool {
    let here = node
        .get(".")
        .and_then(|access| access.get("attr"))
        .and_then(Value::as_str)
        .is_some_and(|name| name == attribute);
    here || match node {
        Value::Array(items) => items.iter().any(|item| reads(item, attribute)),
        Value::Object(fields) => fields.values().any(|field| reads(field, attribute)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vocabulary;

    fn kinds(policies: &str) -> Vec<(String, &'static str)> {
        let catalogue = "[[upstream]]\nname = \"git\"\nactions = [\"contents:read\"]\n";
        let texts = [("catalogue.toml", catalogue), ("p.cedar", policies)];
        let set = PolicySet::from_sources(&texts, &Vocabulary::default());
        let set = set.unwrap_or_else(|problems| panic!("{problems:?}"));
        lint(&set).into_iter().map(|one| (one.policy.to_string(), one.kind)).collect()
    }

    #[test]
    fn what_is_hardly_meant_is_found_and_what_is_fine_is_not() {
        let found = kinds(
            r#"
@id("all") permit (principal, action, resource);
@id("fine") permit (principal is Jeton::Agent, action == Jeton::Action::"contents:read", resource)
    when { context.ttl <= 60 };
@id("long") permit (principal is Jeton::Agent, action == Jeton::Action::"contents:read", resource)
    when { context has ref && context.ref like "a/*" };
@id("twin") permit (principal is Jeton::Agent, action == Jeton::Action::"contents:read", resource)
    when { context.ttl <= 60 };
@id("z-opens") permit (principal, action == Jeton::Action::"open_session", resource);
@id("never") forbid (principal is Jeton::Agent, action == Jeton::Action::"contents:read", resource)
    unless { context.ttl <= 60 };
"#,
        );
        let wanted = [
            ("all", "matches everything"),
            ("all", "no expiry"),
            ("fine", "shadowed"),
            ("long", "no expiry"),
            ("long", "shadowed"),
            ("never", "no reason"),
            ("twin", "repeated"),
            ("twin", "shadowed"),
            ("z-opens", "shadowed"),
        ];
        let wanted: Vec<_> = wanted.iter().map(|(id, kind)| ((*id).to_owned(), *kind)).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_denies_direct_delivery_and_what_opts_out_is_listed() {
        let catalogue = "[[upstream]]\nname = \"git\"\nactions = [\"contents:read\"]\n";
        let policies = r#"
@id("calls") @reason("r") forbid (principal, action in Jeton::Action::"grant", resource) when { context has method && context.method == "PUT" };
@id("files") @reason("r") @allow_direct("the host protects them") forbid (principal, action in Jeton::Action::"grant", resource)
when { context has file && context has bytes && context.bytes > 9 };
@id("idle") @reason("r") @allow_direct("x") forbid (principal, action in Jeton::Action::"grant", resource) when { context.ttl > 9 };
"#;
        let texts = [("catalogue.toml", catalogue), ("p.cedar", policies)];
        let set = PolicySet::from_sources(&texts, &Vocabulary::default());
        let set = set.unwrap_or_else(|problems| panic!("{problems:?}"));
        let told = |found: Vec<Finding>| {
            let told = |one: Finding| format!("{}: {}: {}", one.policy, one.kind, one.words);
            found.into_iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(
            told(deliveries(&set)),
            [
                "calls: gateway only: it reads `method`, and denies direct delivery of what it is about",
                "files: direct delivery allowed: it reads `bytes`, `file`, and binds nobody who holds a credential: the host protects them",
            ]
        );
        let found = told(lint(&set));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("idle: no effect: "), "{found:?}");
    }

    #[test]
    fn a_route_that_takes_graphql_unseen_is_told() {
        let route = |path: &str, more: &str| {
            format!(
                "[[route]]\nupstream = \"git\"\nmethods = [\"POST\"]\npath = \"{path}\"\nresource = \"x\"\naction = \"contents:read\"\n{more}"
            )
        };
        let any = "body = \"any\"\n";
        let of = |routes: &[String]| {
            let catalogue = "[[upstream]]\nname = \"git\"\n".to_owned() + &routes.concat();
            let texts = [("catalogue.toml", catalogue.as_str())];
            let set = PolicySet::from_sources(&texts, &Vocabulary::default());
            let set = set.unwrap_or_else(|problems| panic!("{problems:?}"));
            let found = super::routes(&set).into_iter();
            let warnings = found.filter(|one| one.severity == Severity::Warning);
            warnings.map(|one| (one.route, one.kind)).collect::<Vec<_>>()
        };
        let sees = "graphql = \"query\"\nfields = [\"a\"]\n";
        let unseen = |path: &str| (format!("git POST {path} body *"), "graphql unseen");
        assert_eq!(of(&[route("/graphql", sees), route("/x", any), route("/{x}", any)]), []);
        assert_eq!(of(&[route("/graphql", any)]), [unseen("/graphql")]);
        assert_eq!(of(&[route("/api/{x}/GraphQL", any)]), [unseen("/api/{x}/GraphQL")]);
        let keys = "body = [\"query\"]\n";
        let shown = ("git POST /graphql body query".to_owned(), "graphql unseen");
        assert_eq!(of(&[route("/graphql", keys)]), [shown]);
        let never = [("git POST /graphql body *".to_owned(), "never asked")];
        assert_eq!(of(&[route("/graphql", sees), route("/graphql", any)]), never);
    }

    #[test]
    fn what_a_route_lets_pass_undecided_is_listed() {
        let kinds = |more: &str| {
            let catalogue = format!(
                "[[upstream]]\nname = \"git\"\n[[route]]\nupstream = \"git\"\npath = \"/x\"\nresource = \"x\"\naction = \"issues:read\"\n{more}"
            );
            let texts = [("catalogue.toml", catalogue.as_str())];
            let set = PolicySet::from_sources(&texts, &Vocabulary::default());
            let set = set.unwrap_or_else(|problems| panic!("{problems:?}"));
            let found = super::routes(&set);
            assert!(found.iter().all(|one| one.severity == Severity::Information), "{found:?}");
            found.into_iter().map(|one| one.kind).collect::<Vec<_>>()
        };
        let get = "methods = [\"GET\"]\n";
        assert_eq!(kinds(get), [""; 0]);
        assert_eq!(kinds(&format!("{get}query = [\"page\"]\n")), [""; 0]);
        assert_eq!(kinds(&format!("{get}query = \"any\"\n")), ["any query"]);
        let post = "methods = [\"POST\"]\n";
        assert_eq!(kinds(&format!("{post}body = [\"a\"]\nwhere = {{ a = 1 }}\n")), [""; 0]);
        assert_eq!(
            kinds(&format!("{post}body = \"*\"\nquery = \"*\"\n")),
            ["any query", "any body"]
        );
        assert_eq!(kinds(&format!("{post}body = \"any\"\nwhere = {{ a = 1 }}\n")), ["any body"]);
        let headers = "headers = [\"X-Scope-OrgID\", \"X-Trace\", \"Idempotency-Key\"]\n";
        assert_eq!(kinds(&format!("{get}{headers}")), ["identity header"]);
    }

    #[test]
    fn what_the_catalogue_does_not_know_is_told() {
        let catalogue = r#"
team = [{ name = "empty" }, { name = "people" }, { name = "agents" }]
upstream = [{ name = "git", actions = ["contents:read"] }]
resource = [{ upstream = "git", name = "acme/api", id = "7", tier = "prod", labels = ["pci"] },
            { upstream = "git", name = "acme/web" }]
agent = [{ match = "a/*", teams = ["agents"] }]
person = [{ id = "ana", teams = ["people"] }]
"#;
        let found = |scope: &str, rest: &str| {
            let text = format!("@id(\"p\") @reason(\"r\") {rest};").replace("SCOPE", scope);
            let texts = [("catalogue.toml", catalogue), ("p.cedar", text.as_str())];
            let set = PolicySet::from_sources(&texts, &Vocabulary::default());
            let set = set.unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
            let found = lint(&set).into_iter();
            found.map(|one| format!("{}: {}", one.kind, one.words)).collect::<Vec<_>>()
        };
        let grants = "action in Jeton::Action::\"grant\"";
        for (scope, wanted) in [
            (format!("principal in Jeton::Team::\"agents\", {grants}, resource"), ""),
            (format!("principal in Jeton::Team::\"empty\", {grants}, resource"), "never matches: nobody is in the team `empty`"),
            (format!("principal, {grants}, resource == Jeton::Resource::\"7\""), ""),
            (format!("principal, {grants}, resource == Jeton::Resource::\"git:acme/web\""), ""),
            (format!("principal, {grants}, resource == Jeton::Resource::\"git:acme/wbe\""), "resource unknown: the catalogue does not list Jeton::Resource::\"git:acme/wbe\""),
            ("principal in Jeton::Team::\"people\", action == Jeton::Action::\"open_session\", resource in Jeton::Team::\"people\"".into(), "never matches: nobody is in the team `people`"),
        ] {
            let found = found(&scope, "permit (SCOPE) when { context.ttl <= 60 }");
            assert_eq!(found.len(), usize::from(!wanted.is_empty()), "{scope}: {found:?}");
            assert!(found.iter().all(|one| one.starts_with(wanted)), "{scope}: {found:?}");
        }
        let forbid = format!("forbid (principal is Jeton::Agent, {grants}, resource)");
        for (rest, wanted) in [
            ("when { resource has tier && resource.tier == \"prod\" }", ""),
            (
                "when { resource has tier && \"prd\" == resource.tier }",
                "resource unknown: no listed resource has the tier `prd`",
            ),
            (
                "unless { resource has tier && resource.tier != \"dev\" }",
                "resource unknown: no listed resource has the tier `dev`",
            ),
            ("when { resource.labels.contains(\"pci\") }", ""),
            (
                "when { resource.labels.contains(\"pic\") }",
                "resource unknown: no listed resource has the label `pic`",
            ),
            ("when { context.ttl > 60 && resource.name == \"acme/none\" }", ""),
        ] {
            let found = found("", &format!("{forbid} {rest}"));
            assert_eq!(found.len(), usize::from(!wanted.is_empty()), "{rest}: {found:?}");
            assert!(found.iter().all(|one| one.starts_with(wanted)), "{rest}: {found:?}");
        }
        let named =
            found("", &format!("@approvers(\"security\") {forbid} when {{ context.ttl > 60 }}"));
        assert_eq!(named.len(), 1, "{named:?}");
        assert!(named[0].starts_with("guard without approvers: `@approvers` lifts nothing"));
    }
}
