//! Makes a counter-example plain: leaves out and evens out whatever does not matter for it.
//!
//! Why: a solver fills in at random what nobody asked about, and people would look for the fault in
//! there. Every change is kept only if the request is a counter-example still.

use serde_json::{Map, Value, json};

use super::case::{Case, id, kind};
use crate::context::{ExistsFor, exists_for};

/// A life that nobody wonders about, in seconds.
const TTL: u32 = 60;
const AGENT: &str = "spiffe://example/agent";
const PERSON: &str = "spiffe://example/person";
const NOW: &str = "2026-01-01T00:00:00Z";

/// Makes it plain, as long as it `holds`.
pub(super) fn made_plain(case: Case, holds: impl Fn(&Case) -> bool) -> Case {
    let mut plain = Plain { case, holds };
    plain.entities();
    plain.context();
    plain.attributes();
    plain.names();
    plain.case
}

struct Plain<H> {
    case: Case,
    holds: H,
}

impl<H: Fn(&Case) -> bool> Plain<H> {
    /// Keeps a change if the request is a counter-example still.
    fn change(&mut self, change: impl FnOnce(&mut Case)) {
        let mut changed = self.case.clone();
        change(&mut changed);
        if changed != self.case && (self.holds)(&changed) {
            self.case = changed;
        }
    }

    /// Leaves out entities, and what the rest is in.
    fn entities(&mut self) {
        for place in (0..self.case.entities.len()).rev() {
            self.change(|case| drop(case.entities.remove(place)));
        }
        for place in 0..self.case.entities.len() {
            for parent in (0..parents(&self.case, place)).rev() {
                self.change(|case| {
                    let entity = case.entities.get_mut(place);
                    let all = entity.and_then(|entity| entity.get_mut("parents"));
                    if let Some(all) = all.and_then(Value::as_array_mut) {
                        all.remove(parent);
                    }
                });
            }
        }
    }

    fn context(&mut self) {
        let set = |case: &mut Case, name: &str, value: Value| {
            if let Some(old) = case.request.pointer_mut(&format!("/context/{name}")) {
                *old = value;
            }
        };
        // First without any push or call, then without a part of one.
        for without in [
            &[ExistsFor::Push, ExistsFor::PushContent, ExistsFor::Call][..],
            &[ExistsFor::Push, ExistsFor::PushContent],
            &[ExistsFor::PushContent],
            &[ExistsFor::Call],
        ] {
            self.change(|case| keep(case, |name| !without.contains(&exists_for(name))));
        }
        self.change(|case| keep(case, |name| !["operation", "fields"].contains(&name)));
        for one in ["ref", "person", "bytes"] {
            self.change(|case| keep(case, |name| name != one));
        }
        self.change(|case| {
            set(case, "depth", json!(0));
            set(case, "delegators", json!([]));
        });
        for (name, value) in [
            ("approvals", json!([])),
            ("delivery", json!("direct")),
            ("ttl", json!(TTL)),
            ("now", json!({ "__extn": { "fn": "datetime", "arg": NOW } })),
            ("ref", json!("agent/x")),
        ] {
            self.change(|case| set(case, name, value));
        }
    }

    fn attributes(&mut self) {
        for place in 0..self.case.entities.len() {
            for name in ["tier", "owner"] {
                self.change(|case| {
                    if let Some(fields) = attributes(case, place) {
                        fields.remove(name);
                    }
                });
            }
            for (name, value) in [("labels", json!([])), ("trust", json!(0))] {
                self.change(|case| {
                    if let Some(old) = attributes(case, place).and_then(|all| all.get_mut(name)) {
                        *old = value;
                    }
                });
            }
        }
    }

    /// Calls the ends what they might be called, and by the name that they have.
    fn names(&mut self) {
        for place in 0..self.case.entities.len() {
            let Some(entity) = self.case.entities.get(place) else { continue };
            let (of_kind, old) = (kind(entity).to_owned(), id(entity).to_owned());
            let name = entity.pointer("/attrs/name").and_then(Value::as_str).map(str::to_owned);
            let (new, new_name) = match of_kind.as_str() {
                "Jeton::Agent" => (AGENT.to_owned(), AGENT.to_owned()),
                "Jeton::Person" => (PERSON.to_owned(), PERSON.to_owned()),
                "Jeton::Resource" => resource(entity),
                _ => continue,
            };
            let mut tries = vec![(new, new_name)];
            tries.extend(name.map(|name| (name.clone(), name)));
            tries.push((old.clone(), old.clone()));
            for (id, name) in tries {
                self.change(|case| renamed(case, &of_kind, &old, &id, &name));
                if self.case.entities.get(place).map(super::case::id) == Some(id.as_str()) {
                    break;
                }
            }
        }
    }
}

/// Leaves attributes of the context out.
fn keep(case: &mut Case, kept: impl Fn(&str) -> bool) {
    if let Some(fields) = case.request.get_mut("context").and_then(Value::as_object_mut) {
        fields.retain(|name, _| kept(name));
    }
}

fn parents(case: &Case, place: usize) -> usize {
    let parents = case.entities.get(place).and_then(|entity| entity.get("parents"));
    parents.and_then(Value::as_array).map_or(0, Vec::len)
}

fn attributes(case: &mut Case, place: usize) -> Option<&mut Map<String, Value>> {
    case.entities.get_mut(place)?.get_mut("attrs")?.as_object_mut()
}

/// What a resource of such an organisation might be called.
fn resource(entity: &Value) -> (String, String) {
    let parents = entity.get("parents").and_then(Value::as_array).into_iter().flatten();
    let org = parents
        .filter(|parent| parent.get("type").and_then(Value::as_str) == Some("Jeton::Org"))
        .find_map(|parent| parent.get("id").and_then(Value::as_str));
    let upstream = entity.pointer("/attrs/upstream/__entity/id").and_then(Value::as_str);
    let place = org.map_or_else(
        || format!("{}:any/other", upstream.unwrap_or_default()),
        |org| format!("{org}/any"),
    );
    let name = place.split_once(':').map_or_else(|| place.clone(), |(_, name)| name.to_owned());
    (place, name)
}

/// Gives an entity another id everywhere, and a name.
fn renamed(case: &mut Case, of_kind: &str, old: &str, new: &str, name: &str) {
    let (before, after) = (uid(of_kind, old), uid(of_kind, new));
    for end in ["principal", "resource"] {
        if let Some(end) = case.request.get_mut(end)
            && end.as_str() == Some(before.as_str())
        {
            *end = json!(after);
        }
    }
    let mut values: Vec<&mut Value> = case.entities.iter_mut().collect();
    values.extend(case.request.get_mut("context"));
    for value in values {
        let is_it = value.get("uid").is_some() && kind(value) == of_kind && id(value) == old;
        if is_it && let Some(own) = value.pointer_mut("/attrs/name") {
            *own = json!(name);
        }
        replaced(value, of_kind, old, new);
    }
}

fn replaced(value: &mut Value, of_kind: &str, old: &str, new: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replaced(item, of_kind, old, new)),
        Value::Object(fields) => {
            let is =
                |name: &str, wanted: &str| fields.get(name).and_then(Value::as_str) == Some(wanted);
            if is("type", of_kind) && is("id", old) {
                fields.insert("id".to_owned(), json!(new));
            }
            fields.values_mut().for_each(|field| replaced(field, of_kind, old, new));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn uid(of_kind: &str, id: &str) -> String {
    format!("{of_kind}::\"{}\"", id.escape_debug())
}
