//! Entries as events of the Open Cybersecurity Schema Framework, version 1.3.
//!
//! What is about an agent becomes Authorize Session (class 3003), a failed sign-in Authentication
//! (3002), and the rest Entity Management (3004). The whole entry stands under `unmapped`.

use jeton_client::EntryInfo;
use jeton_domain::audit::{Event, Facts, Outcome};
use serde_json::{Map, Value, json};

use super::flat;
use crate::cli::failure::Failure;

/// Version of the schema.
const VERSION: &str = "1.3.0";
/// Identity and access management.
const CATEGORY: u32 = 3;

/// A class and an activity of it.
struct Class {
    uid: u32,
    activity: u32,
    name: &'static str,
}

/// One event, as one line of JSON.
pub fn event(entry: &EntryInfo) -> Result<String, Failure> {
    let read = flat::read(entry)?;
    let facts = read.event.facts();
    let class = class(&read.event, &facts);
    let mut event = json!({
        "activity_id": class.activity,
        "activity_name": class.name,
        "category_uid": CATEGORY,
        "class_uid": class.uid,
        "type_uid": class.uid * 100 + class.activity,
        "severity_id": severity(facts.outcome),
        "status_id": status(facts.outcome),
        "status": facts.outcome.word(),
        "time": entry.at,
        "message": entry.line,
        "metadata": {
            "version": VERSION,
            "sequence": entry.index,
            "event_code": entry.event,
            "product": { "name": "Jeton", "vendor_name": "Jeton" },
        },
        "unmapped": { "entry": serde_json::from_str::<Value>(&entry.text).unwrap_or(Value::Null) },
    });
    if let Some(fields) = event.as_object_mut() {
        who(fields, &facts, class.uid);
        what(fields, &facts);
    }
    Ok(event.to_string())
}

fn class(event: &Event, facts: &Facts<'_>) -> Class {
    let class = |uid, activity, name| Class { uid, activity, name };
    // Why by the word: what is not named here has a class all the same.
    match event.word() {
        "sign_in_failed" | "denials_summarized" if facts.agent.is_none() => class(3002, 1, "Logon"),
        "log_read" => class(3004, 2, "Read"),
        "policy_loaded" | "certificates_loaded" | "key_rotated" => class(3004, 3, "Update"),
        "issued" | "renewed" => class(3003, 1, "Assign Privileges"),
        _ if facts.agent.is_some() => class(3003, 99, "Other"),
        _ => class(3004, 99, "Other"),
    }
}

fn who(fields: &mut Map<String, Value>, facts: &Facts<'_>, class: u32) {
    let user = |name: Option<String>| match name {
        Some(name) => json!({ "uid": name, "name": name, "type_id": 99, "type": "principal" }),
        None => json!({ "name": "unknown", "type_id": 0 }),
    };
    let agent = facts.agent.map(ToString::to_string);
    let by = facts.by.or(facts.agent).map(ToString::to_string);
    if class == 3004 {
        fields.insert("entity".into(), json!({ "name": "broker", "type": "service" }));
    } else {
        fields.insert("user".into(), user(agent));
    }
    let mut actor = Map::new();
    actor.insert("user".into(), user(by));
    if let Some(person) = facts.person {
        actor.insert("invoked_by".into(), json!(person.to_string()));
    }
    fields.insert("actor".into(), Value::Object(actor));
}

fn what(fields: &mut Map<String, Value>, facts: &Facts<'_>) {
    if let Some(session) = facts.session {
        fields.insert("session".into(), json!({ "uid": session.to_string() }));
    }
    if let Some(scope) = facts.scope {
        let actions: Vec<String> = scope.actions.iter().map(ToString::to_string).collect();
        fields.insert("privileges".into(), json!(actions));
        let resource = format!("{}:{}", scope.upstream, scope.resource);
        fields.insert("resources".into(), json!([{ "name": resource, "type": "resource" }]));
    }
    let observables = facts.grant.map(|grant| {
        json!([{ "name": "unmapped.entry.event.grant", "type_id": 99, "value": grant.to_string() }])
    });
    fields.extend(observables.map(|list| ("observables".to_owned(), list)));
}

fn severity(outcome: Outcome) -> u32 {
    match outcome {
        Outcome::Success | Outcome::Pending => 1,
        Outcome::Denied => 2,
        Outcome::Failure => 3,
    }
}

fn status(outcome: Outcome) -> u32 {
    match outcome {
        Outcome::Success => 1,
        Outcome::Denied | Outcome::Failure => 2,
        Outcome::Pending => 99,
    }
}
