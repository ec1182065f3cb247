//! Guards: rules that a person may lift, for one canonical request.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{decision::PolicyId, session::Words};

/// Name of a group of people whose approval lifts guards.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupName(String);

impl GroupName {
    /// Takes a name as the policy wrote it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A policy that refuses unless one of its groups approved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// The policy.
    pub policy: PolicyId,
    /// The groups that can lift it.
    pub groups: Vec<GroupName>,
    /// Why it exists, by its `@reason`.
    pub reason: Words,
}
