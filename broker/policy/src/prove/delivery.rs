//! The policies as they hold for each delivery, written in Cedar, so that a proof and the evaluator that confirms
//! it see what `decide` answers.
//!
//! A directly delivered credential is used where no policy is asked: a grant of it allows any file, any change
//! and any call. So in the world of proofs a request for direct delivery has whatever a push or a call could
//! have, and the policies, which see none of that, have to answer as if it were absent.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, Policy, PolicyId as CedarId};
use jeton_domain::{decision::PolicyId, scope::Action};
use serde_json::{Value, json};

use crate::{PolicySet, Vocabulary, context::exists_for, guard::attribute};

/// Behind the id of a policy: what stands for its denial of direct delivery. No `@id` has a blank.
const DENIAL: &str = " direct";

/// The policies of a set, as they hold.
pub(super) struct Delivered {
    /// The policies, in the order of their ids: for direct delivery, nothing of a push or a call exists.
    pub policies: Vec<Policy>,
    /// What denies direct delivery.
    pub denials: Vec<Policy>,
}

impl Delivered {
    /// Takes a set, and all actions that there are.
    pub fn of(set: &PolicySet, vocabulary: &Vocabulary) -> Result<Self, String> {
        let policies = set.policies().map(|(_, policy)| through_gateway(policy));
        Ok(Self {
            policies: policies.collect::<Result<_, _>>()?,
            denials: set
                .index
                .gateway_only()
                .map(|policy| denial(policy, vocabulary))
                .collect::<Result<_, _>>()?,
        })
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter().chain(&self.denials)
    }
}

/// The policy that an id stands for.
pub(super) fn policy_of(id: &str) -> PolicyId {
    PolicyId::new(id.strip_suffix(DENIAL).unwrap_or(id))
}

/// Denies direct delivery of whatever the scope of a policy matches, and of the actions that cover those.
///
/// An action that the catalogue does not list covers none of those that it lists: a proof knows its level alone.
fn denial(policy: &Policy, vocabulary: &Vocabulary) -> Result<Policy, String> {
    let mut body = policy.to_json().map_err(|error| error.to_string())?;
    let fields = body.as_object_mut().ok_or("a policy is not an object")?;
    fields.remove("annotations");
    fields.insert("effect".to_owned(), json!("forbid"));
    let direct = json!({ "&&": {
        // Why: whether a session may be created has no delivery.
        "left": { "has": { "left": { "Var": "context" }, "attr": "delivery" } },
        "right": delivered("direct"),
    }});
    fields.insert("conditions".to_owned(), json!([{ "kind": "when", "body": direct }]));
    let named = match policy.action_constraint() {
        ActionConstraint::Any => vec![],
        ActionConstraint::Eq(action) => vec![action],
        ActionConstraint::In(actions) => actions,
    };
    if !named.is_empty() {
        let all = named.iter().flat_map(|action| covering(action.id().unescaped(), vocabulary));
        let all: BTreeSet<_> = all.collect();
        let entity = |id: &String| json!({ "type": "Jeton::Action", "id": id });
        let all: Vec<_> = all.iter().map(entity).collect();
        fields.insert("action".to_owned(), json!({ "op": "in", "entities": all }));
    }
    let id = CedarId::new(format!("{}{DENIAL}", policy.id()));
    Policy::from_json(Some(id), body).map_err(|error| error.to_string())
}

/// An action or a group of them, and those that cover it.
fn covering(id: &str, vocabulary: &Vocabulary) -> Vec<String> {
    let Ok(action) = Action::parse(id) else {
        let above: &[&str] = match id {
            "read" => &["write", "admin"],
            "write" => &["admin"],
            _ => &[],
        };
        return [id].iter().chain(above).map(|one| (*one).to_owned()).collect();
    };
    let above = vocabulary.all().filter(|other| other.covers(&action));
    above.map(ToString::to_string).chain([id.to_owned()]).collect()
}

/// The same policy, to which what exists for a push or a call exists through the gateway only.
fn through_gateway(policy: &Policy) -> Result<Policy, String> {
    let mut body = policy.to_json().map_err(|error| error.to_string())?;
    if let Some(conditions) = body.get_mut("conditions") {
        narrow(conditions);
    }
    Policy::from_json(Some(policy.id().clone()), body).map_err(|error| error.to_string())
}

/// Narrows each question whether such an attribute exists. Why that is enough: none may be read unasked.
fn narrow(node: &mut Value) {
    let gateway_only = attribute(node).is_some_and(|name| exists_for(name).gateway_only());
    if gateway_only && node.get("has").is_some() {
        *node = json!({ "&&": { "left": node.take(), "right": delivered("gateway") } });
        return;
    }
    match node {
        Value::Array(items) => items.iter_mut().for_each(narrow),
        Value::Object(fields) => fields.values_mut().for_each(narrow),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn delivered(word: &str) -> Value {
    json!({ "==": {
        "left": { ".": { "left": { "Var": "context" }, "attr": "delivery" } },
        "right": { "Value": word },
    }})
}
