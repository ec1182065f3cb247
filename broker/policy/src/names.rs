//! How things are called inside Cedar.
//!
//! Agents and persons go by their principal's name, teams, groups and upstreams by their own, an
//! organisation by `upstream:first-segment`. A resource goes by the `id` of the catalogue, else by
//! `upstream:name`. Why: names get reused; a policy about an id can't be inherited by a newcomer.

use cedar_policy::{EntityId, EntityTypeName, EntityUid, ParseErrors};
use jeton_domain::scope::{Resource, Upstream};

/// The type names of the schema, parsed once.
pub(super) struct Names {
    action: EntityTypeName,
    agent: EntityTypeName,
    group: EntityTypeName,
    org: EntityTypeName,
    person: EntityTypeName,
    resource: EntityTypeName,
    team: EntityTypeName,
    upstream: EntityTypeName,
}

impl Names {
    pub fn new() -> Result<Self, Box<ParseErrors>> {
        let name = |basename: &str| format!("Jeton::{basename}").parse().map_err(Box::new);
        Ok(Self {
            action: name("Action")?,
            agent: name("Agent")?,
            group: name("Group")?,
            org: name("Org")?,
            person: name("Person")?,
            resource: name("Resource")?,
            team: name("Team")?,
            upstream: name("Upstream")?,
        })
    }

    pub fn action(&self, name: &str) -> EntityUid {
        uid(&self.action, name)
    }

    pub fn agent(&self, name: &str) -> EntityUid {
        uid(&self.agent, name)
    }

    pub fn group(&self, name: &str) -> EntityUid {
        uid(&self.group, name)
    }

    pub fn person(&self, name: &str) -> EntityUid {
        uid(&self.person, name)
    }

    pub fn resource(&self, id: &str) -> EntityUid {
        uid(&self.resource, id)
    }

    pub fn team(&self, name: &str) -> EntityUid {
        uid(&self.team, name)
    }

    pub fn upstream(&self, upstream: &Upstream) -> EntityUid {
        uid(&self.upstream, upstream.as_str())
    }

    /// The organisation of a resource; a name of one segment stands right below its upstream.
    pub fn org(&self, upstream: &Upstream, resource: &Resource) -> Option<EntityUid> {
        let (org, _) = resource.as_str().split_once('/')?;
        Some(uid(&self.org, &format!("{upstream}:{org}")))
    }
}

fn uid(kind: &EntityTypeName, name: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name))
}
