//! The catalogue: the facts that policies speak about, kept in git beside them.
//!
//! What is not listed exists all the same, but with nothing known about it: a resource has its name,
//! its upstream and its organisation, an agent has no team and no trust, a person no team. So
//! policies about a whole organisation reach every resource in it, and those about teams only whom
//! somebody listed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jeton_domain::{
    approval::{GroupName, Terms},
    pattern::NamePattern,
    principal::{Issuer, Principal, PrincipalId},
    scope::{Action, Resource, Upstream},
};

/// What is known.
#[derive(Debug, Default)]
pub struct Catalogue {
    pub(super) teams: BTreeSet<String>,
    pub(super) upstreams: BTreeMap<Upstream, Vec<Action>>,
    pub(super) resources: HashMap<(Upstream, Resource), Listed>,
    /// Why by themselves: each policy may name some, and there may be a hundred thousand.
    pub(super) ids: HashSet<String>,
    pub(super) agents: Vec<AgentRule>,
    pub(super) persons: HashMap<PrincipalId, BTreeSet<String>>,
    pub(super) groups: BTreeMap<GroupName, Group>,
}

/// People who lift guards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Who, by name.
    pub members: BTreeSet<PrincipalId>,
    /// And who else: an issuer, and a group that its tokens tell of.
    pub claimed: BTreeSet<(Issuer, String)>,
    /// What they keep to.
    pub terms: Terms,
}

impl Group {
    /// Tells whether somebody is of it: by name, or by the word of the issuer that named it.
    #[must_use]
    pub fn holds(&self, who: &Principal) -> bool {
        let claimed = |issuer: &Issuer| {
            let of = self.claimed.iter().filter(|(by, _)| by == issuer);
            of.into_iter().any(|(_, name)| who.groups.iter().any(|group| **group == **name))
        };
        self.members.contains(&who.id) || who.issuer.as_ref().is_some_and(claimed)
    }
}

/// A listed resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The provider's number or ours; `None` leaves it to go by its name.
    pub id: Option<String>,
    /// How much depends on it, a word such as `prod`.
    pub tier: Option<String>,
    /// The team that answers for it.
    pub owner: Option<String>,
    /// Other words about it.
    pub labels: BTreeSet<String>,
}

/// Facts about agents whose name matches.
#[derive(Debug)]
pub(super) struct AgentRule {
    pub who: NamePattern,
    pub teams: BTreeSet<String>,
    pub trust: Option<i64>,
}

/// What is known about one agent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AgentFacts {
    /// Its teams.
    pub teams: BTreeSet<String>,
    /// 0 to 10.
    pub trust: i64,
}

impl Catalogue {
    /// What is known about an agent. Of several entries that match, the teams add up and the
    /// lowest trust counts.
    #[must_use]
    pub fn agent(&self, id: &PrincipalId) -> AgentFacts {
        let rules: Vec<_> =
            self.agents.iter().filter(|rule| rule.who.matches(id.as_str())).collect();
        AgentFacts {
            teams: rules.iter().flat_map(|rule| rule.teams.iter().cloned()).collect(),
            trust: rules.iter().filter_map(|rule| rule.trust).min().unwrap_or(0),
        }
    }

    /// The teams of a person.
    pub fn teams_of(&self, person: &PrincipalId) -> impl Iterator<Item = &str> {
        self.persons.get(person).into_iter().flatten().map(String::as_str)
    }

    /// A resource, if it is listed.
    #[must_use]
    pub fn resource(&self, upstream: &Upstream, resource: &Resource) -> Option<&Listed> {
        // Why not borrowed: a prepared question asks only once.
        self.resources.get(&(upstream.clone(), resource.clone()))
    }

    /// An approver group; `None` if there is none such.
    #[must_use]
    pub fn group(&self, name: &GroupName) -> Option<&Group> {
        self.groups.get(name)
    }
}
