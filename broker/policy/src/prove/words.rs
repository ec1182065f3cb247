//! A request in words.

use jeton_domain::decision::PolicyId;
use serde_json::Value;

use super::case::{Case, id, kind};

/// Ids, joined.
pub(super) fn ids(ids: &[PolicyId], by: &str) -> String {
    ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(by)
}

/// The level that an action stands for, if it is one of those that stand for others.
pub(super) fn level(action: &str) -> Option<&str> {
    ["read", "write", "admin", "other"].contains(&action).then_some(action)
}

/// Who asks for what on what, and how.
pub(super) fn of(case: &Case) -> Vec<(&'static str, String)> {
    let end = |name: &str| match case.end(name) {
        Ok(uid) => (uid.type_name().basename().to_owned(), uid.id().unescaped().to_owned()),
        Err(words) => (String::new(), words),
    };
    let ((who_kind, who), (_, action), (what_kind, what)) =
        (end("principal"), end("action"), end("resource"));
    let action = match level(&action) {
        Some(level) => format!("an action of level `{level}` that the catalogue does not list"),
        None => action,
    };
    vec![
        ("who", described(case, &who_kind, &who)),
        ("asks for", action),
        ("on", described(case, &what_kind, &what)),
        ("with", context(case)),
    ]
}

fn described(case: &Case, of_kind: &str, of_id: &str) -> String {
    let is_it = |one: &&Value| kind(one) == format!("Jeton::{of_kind}") && id(one) == of_id;
    let mut text = format!("{} `{of_id}`", of_kind.to_lowercase());
    let Some(entity) = case.entities.iter().find(is_it) else { return text };
    let mut parts: Vec<_> = entity
        .get("parents")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|parent| format!("in {}", named(parent)))
        .collect();
    for (name, value) in entity.get("attrs").and_then(Value::as_object).into_iter().flatten() {
        let says_nothing = name == "name" && value.as_str() == Some(of_id);
        if !says_nothing && !is_empty(value) {
            parts.push(format!("{name} {}", shown(value)));
        }
    }
    if !parts.is_empty() {
        text += &format!(" ({})", parts.join(", "));
    }
    text
}

fn context(case: &Case) -> String {
    let fields = case.request.get("context").and_then(Value::as_object);
    let fields = fields.into_iter().flatten().filter(|(_, value)| !is_empty(value));
    let part = |(name, value): (&String, &Value)| match name.as_str() {
        "ttl" => format!("ttl {} s", shown(value)),
        "approvals" => format!("approved by {}", shown(value)),
        "person" => match described(case, "Person", id_of(value)) {
            words if words.is_empty() => String::new(),
            words => format!("for {words}"),
        },
        "delegators" => format!("passed on by {}", shown(value)),
        _ => format!("{name} {}", shown(value)),
    };
    fields.map(part).collect::<Vec<_>>().join(", ")
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn id_of(value: &Value) -> &str {
    value.pointer("/__entity/id").and_then(Value::as_str).unwrap_or_default()
}

/// A value on one line.
fn shown(value: &Value) -> String {
    if let Some(entity) = value.get("__entity") {
        return named(entity);
    }
    if let Some(call) = value.get("__extn") {
        let argument = call.get("arg").or_else(|| call.get("args"));
        return argument.map(shown).unwrap_or_default();
    }
    match value {
        Value::String(text) => format!("`{text}`"),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

fn named(entity: &Value) -> String {
    let text = |name: &str| entity.get(name).and_then(Value::as_str).unwrap_or_default();
    let kind = text("type").rsplit("::").next().unwrap_or_default().to_lowercase();
    format!("{kind} `{}`", text("id"))
}
