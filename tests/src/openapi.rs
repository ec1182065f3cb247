//! A published OpenAPI description, as far as an answer can be held against it.
//!
//! It checks status codes, `type`, `enum`, `required` and what is below them, through `$ref`,
//! `allOf`, `anyOf` and `oneOf`. Formats, patterns and limits it does not look at.

use serde_json::{Map, Value};

use crate::emulate::repository_root;

/// The description.
pub struct OpenApi(Value);

impl OpenApi {
    /// GitHub's REST API (npm `@octokit/openapi`).
    ///
    /// # Panics
    /// When `tests/setup` has not brought the file.
    pub fn of_github() -> Self {
        let file = repository_root()
            .join(".tools/node/node_modules/@octokit/openapi/generated/api.github.com.json");
        let text = std::fs::read(&file).unwrap_or_else(|error| {
            panic!("`{}`: {error}; hint: run ./tests/run --setup", file.display())
        });
        Self(serde_json::from_slice(&text).unwrap())
    }

    /// The documented status codes of an operation; none when there is no such operation.
    pub fn statuses(&self, method: &str, path: &str) -> Vec<u16> {
        self.responses(method, path)
            .map(|responses| responses.keys().filter_map(|status| status.parse().ok()).collect())
            .unwrap_or_default()
    }

    /// Every way in which an answer differs from the description; none is what one wants.
    pub fn faults(&self, method: &str, path: &str, answer: &Answer) -> Vec<String> {
        let mut faults = Vec::new();
        let Some(responses) = self.responses(method, path) else {
            return vec![format!("no operation {method} {path}")];
        };
        let Some(response) = responses.get(&answer.status.to_string()) else {
            return vec![format!("status {} is not documented", answer.status)];
        };
        let response = self.resolved(response);
        match (&response["content"]["application/json"]["schema"], &answer.body) {
            (Value::Null, None) => {}
            (Value::Null, Some(_)) => faults.push("a body where none is documented".to_owned()),
            (_, None) => faults.push("no body where one is documented".to_owned()),
            (schema, Some(body)) => self.compare(schema, body, "$", &mut faults),
        }
        faults
    }

    fn responses(&self, method: &str, path: &str) -> Option<&Map<String, Value>> {
        self.0["paths"][path][method.to_lowercase()]["responses"].as_object()
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => {
                let found = self.0.pointer(reference.trim_start_matches('#'));
                self.resolved(found.unwrap_or_else(|| panic!("dangling {reference}")))
            }
            None => schema,
        }
    }

    fn compare(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let schema = self.resolved(schema);
        if value.is_null() && schema["nullable"] == true {
            return;
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.compare(part, value, at, faults);
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(parts) = schema[choice].as_array()
                && !parts.iter().any(|part| self.agrees(part, value))
            {
                faults.push(format!("{at} is none of {choice}"));
            }
        }
        if !is_of_type(schema, value) {
            faults.push(format!("{at} is not of type {}", schema["type"]));
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            faults.push(format!("{at} is not one of the documented values"));
        }
        if let Some(object) = value.as_object() {
            self.compare_object(schema, object, at, faults);
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            if !schema["items"].is_null() {
                self.compare(&schema["items"], item, &format!("{at}[{index}]"), faults);
            }
        }
    }

    fn compare_object(
        &self,
        schema: &Value,
        object: &Map<String, Value>,
        at: &str,
        faults: &mut Vec<String>,
    ) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                faults.push(format!("{at}.{name} is missing"));
            }
        }
        for (name, value) in object {
            let below = &schema["properties"][name];
            if !below.is_null() {
                self.compare(below, value, &format!("{at}.{name}"), faults);
            }
        }
    }

    fn agrees(&self, schema: &Value, value: &Value) -> bool {
        let mut faults = Vec::new();
        self.compare(schema, value, "$", &mut faults);
        faults.is_empty()
    }
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Option<Value>,
}

fn is_of_type(schema: &Value, value: &Value) -> bool {
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => true,
    }
}
