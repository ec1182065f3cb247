//! The words that policies may use: the schema that is shipped, and the actions of the upstreams.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use cedar_policy::{Schema, SchemaFragment};
use jeton_domain::scope::{Action, Upstream};

/// The fixed part.
pub const SCHEMA: &str = include_str!("../../../deploy/policies/jeton.cedarschema");

/// The actions of each upstream.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary(BTreeMap<Upstream, BTreeSet<Action>>);

impl Vocabulary {
    /// Takes what the minters know.
    #[must_use]
    pub fn new(known: &[(Upstream, Vec<Action>)]) -> Self {
        let mut vocabulary = Self::default();
        for (upstream, actions) in known {
            vocabulary.add(upstream, actions);
        }
        vocabulary
    }

    /// Adds actions of an upstream.
    pub(super) fn add(&mut self, upstream: &Upstream, actions: &[Action]) {
        self.0.entry(upstream.clone()).or_default().extend(actions.iter().cloned());
    }

    /// What either knows.
    #[cfg(feature = "prove")]
    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        for (upstream, actions) in &other.0 {
            joined.0.entry(upstream.clone()).or_default().extend(actions.iter().cloned());
        }
        joined
    }

    /// Tells whether an upstream knows an action. Why asked: `permit(principal, action, resource)`
    /// is about what there is, not about words that somebody made up.
    pub(super) fn knows(&self, upstream: &Upstream, action: &Action) -> bool {
        self.0.get(upstream).is_some_and(|actions| actions.contains(action))
    }

    /// The actions of an upstream.
    pub(super) fn actions(&self, upstream: &Upstream) -> Vec<Action> {
        self.0.get(upstream).into_iter().flatten().cloned().collect()
    }

    /// The schema with these actions declared.
    pub(super) fn schema(&self) -> Result<Schema, String> {
        let mut text = String::from("namespace Jeton {\n");
        for action in self.0.values().flatten().collect::<BTreeSet<_>>() {
            // Names of actions hold no quote and no backslash: their parser sees to it.
            let _ = writeln!(
                text,
                "action \"{action}\" in [Action::\"{}\"] appliesTo {{ principal: Agent, resource: Resource, context: Asked }};",
                level_group(action),
            );
        }
        text.push('}');
        let fragment = |text: &str| {
            SchemaFragment::from_cedarschema_str(text)
                .map(|(fragment, _)| fragment)
                .map_err(|error| error.to_string())
        };
        Schema::from_schema_fragments([fragment(SCHEMA)?, fragment(&text)?])
            .map_err(|error| error.to_string())
    }
}

/// The action group of an action's level.
pub(super) fn level_group(action: &Action) -> &'static str {
    match action.level() {
        "read" => "read",
        "write" => "write",
        "admin" => "admin",
        _ => "other",
    }
}
