//! Emergencies: what named people may lift alone, and what waits to be reviewed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::GroupName;
use crate::{
    id::{GrantId, SessionId},
    principal::PrincipalId,
    scope::ScopeBound,
    session::Words,
    ttl::{Timestamp, Ttl},
};

/// Name of what people may do in an emergency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GlassName(String);

impl GlassName {
    /// Takes a name as the catalogue wrote it.
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

/// What named people may do alone in an emergency, by the catalogue. It lifts guards and nothing else:
/// what no approval opens, no emergency opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glass {
    /// Its name.
    pub name: GlassName,
    /// Who.
    pub members: BTreeSet<PrincipalId>,
    /// Whose guards they lift.
    pub lifts: BTreeSet<GroupName>,
    /// For which scopes.
    pub within: Vec<ScopeBound>,
    /// For how long at most.
    pub ttl: Ttl,
    /// For how many grants.
    pub grants: u32,
    /// Who reviews each use afterwards.
    pub reviewed_by: GroupName,
}

/// An emergency that nobody has reviewed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unreviewed {
    /// The entry that tells of it.
    pub entry: u64,
    /// What the person was named for.
    pub glass: GlassName,
    /// Who.
    pub by: PrincipalId,
    /// The grant that waited.
    pub grant: GrantId,
    /// Its session.
    pub session: SessionId,
    /// Why.
    pub reason: Words,
    /// When.
    pub at: Timestamp,
}
