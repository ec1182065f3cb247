//! The words that policies may use: the schema that is shipped, and the actions of the upstreams.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use cedar_policy::{Schema, SchemaFragment};
use jeton_domain::{
    scope::{Action, Upstream},
    spelling::Spelling,
};
use serde_json::json;

/// The fixed part.
pub const SCHEMA: &str = include_str!("../../../deploy/policies/jeton.cedarschema");

/// The same, understood once: that takes longer than all the rest of loading a small folder.
static FIXED: LazyLock<Result<SchemaFragment, String>> = LazyLock::new(|| {
    SchemaFragment::from_cedarschema_str(SCHEMA)
        .map(|(fragment, _)| fragment)
        .map_err(|error| error.to_string())
});

/// The actions of each upstream, and how names are spelled there.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary(BTreeMap<Upstream, BTreeSet<Action>>, Spelling);

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

    /// The same with what upstreams do with the case of names.
    #[must_use]
    pub fn spelled(self, spelling: Spelling) -> Self {
        Self(self.0, spelling)
    }

    /// What upstreams do with the case of names.
    pub(super) fn spelling(&self) -> &Spelling {
        &self.1
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

    /// Every action.
    #[cfg(feature = "prove")]
    pub(super) fn all(&self) -> impl Iterator<Item = &Action> {
        self.0.values().flatten()
    }

    /// The schema with these actions declared.
    pub(super) fn schema(&self) -> Result<Schema, String> {
        super::context::attributes()?;
        let declared = self.0.values().flatten().map(|action| {
            let what = json!({
                "memberOf": [{ "id": level_group(action) }],
                "appliesTo": {
                    "principalTypes": ["Agent"],
                    "resourceTypes": ["Resource"],
                    "context": { "type": "Asked" },
                },
            });
            (action.to_string(), what)
        });
        let declared: serde_json::Map<_, _> = declared.collect();
        let actions = json!({ "Jeton": { "entityTypes": {}, "actions": declared } });
        let actions = SchemaFragment::from_json_value(actions).map_err(|error| error.to_string());
        Schema::from_schema_fragments([FIXED.clone()?, actions?]).map_err(|error| error.to_string())
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
