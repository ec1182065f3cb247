//! A request and the entities that go with it, as they are shown: what is shown is what is evaluated.

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, Response, Schema,
};
use cedar_policy_symcc::Env;
use serde_json::{Value, json};

/// In Cedar's JSON form.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Case {
    /// Principal, action and resource as Cedar writes them, and the context.
    pub request: Value,
    /// The entities, without actions.
    pub entities: Vec<Value>,
}

/// What a set of policies says of a case.
pub(super) struct Answer {
    pub allowed: bool,
    /// The policies that decided.
    pub by: Vec<String>,
    /// Policies that failed to evaluate.
    pub failed: Vec<String>,
}

impl Case {
    /// Takes what the solver found.
    pub fn of(found: &Env) -> Result<Self, String> {
        let request = &found.request;
        let end = |uid: Option<&EntityUid>| uid.map(ToString::to_string).unwrap_or_default();
        let context = request.context().map(Context::to_json_value).transpose();
        let entities = found.entities.to_json_value().map_err(|error| error.to_string())?;
        let Value::Array(mut entities) = entities else {
            return Err("the entities are no list".to_owned());
        };
        // The schema knows the actions.
        entities.retain(|entity| !kind(entity).ends_with("Action"));
        Ok(Self {
            request: json!({
                "principal": end(request.principal()),
                "action": end(request.action()),
                "resource": end(request.resource()),
                "context": context.map_err(|error| error.to_string())?,
            }),
            entities,
        })
    }

    /// Reads it back, as the schema wants it.
    pub fn read(&self, schema: &Schema) -> Result<(Request, Entities), String> {
        let [principal, action, resource] =
            [self.end("principal")?, self.end("action")?, self.end("resource")?];
        let context = self.request.get("context").cloned().unwrap_or_default();
        let context = Context::from_json_value(context, Some((schema, &action)))
            .map_err(|error| error.to_string())?;
        let request = Request::new(principal, action, resource, context, Some(schema))
            .map_err(|error| error.to_string())?;
        let entities = Value::Array(self.entities.clone());
        let entities =
            Entities::from_json_value(entities, Some(schema)).map_err(|error| error.to_string())?;
        Ok((request, entities))
    }

    /// One end of it.
    pub fn end(&self, name: &str) -> Result<EntityUid, String> {
        let text = self.request.get(name).and_then(Value::as_str).unwrap_or_default();
        text.parse().map_err(|error| format!("`{text}`: {error}"))
    }

    /// What a set says of it.
    pub fn put_to(&self, set: &PolicySet, schema: &Schema) -> Result<Answer, String> {
        let (request, entities) = self.read(schema)?;
        Ok(Answer::of(&Authorizer::new().is_authorized(&request, set, &entities)))
    }
}

impl Answer {
    fn of(response: &Response) -> Self {
        let sorted = |mut ids: Vec<String>| {
            ids.sort();
            ids
        };
        let failed = response.diagnostics().errors().map(|error| match error {
            cedar_policy::AuthorizationError::PolicyEvaluationError(error) => {
                error.policy_id().to_string()
            }
        });
        Self {
            allowed: response.decision() == Decision::Allow,
            by: sorted(response.diagnostics().reason().map(ToString::to_string).collect()),
            failed: sorted(failed.collect()),
        }
    }
}

/// The type of an entity in JSON.
pub(super) fn kind(entity: &Value) -> &str {
    entity.pointer("/uid/type").and_then(Value::as_str).unwrap_or_default()
}

/// The id of an entity in JSON.
pub(super) fn id(entity: &Value) -> &str {
    entity.pointer("/uid/id").and_then(Value::as_str).unwrap_or_default()
}
