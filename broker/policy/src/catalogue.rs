//! The catalogue: the facts that policies speak about, kept in git beside them.
//!
//! What is not listed exists all the same, but with nothing known about it: a resource has its name,
//! its upstream and its organisation, an agent has no team and no trust, a person no team. So
//! policies about a whole organisation reach every resource in it, and those about teams only whom
//! somebody listed.

mod spell;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use jeton_domain::{
    approval::{Glass, GroupName, Terms},
    audit::Resources,
    budget::Budget,
    pattern::NamePattern,
    people::People,
    principal::{Issuer, Principal, PrincipalId, PrincipalKind},
    review::{Bounds, ReviewerName},
    route::{Content, Format, PlainPath, Route},
    scope::{Action, Resource, Upstream},
    spelling::Spelling,
};

/// What is known.
#[derive(Debug, Default)]
pub struct Catalogue {
    pub(super) teams: BTreeSet<String>,
    pub(super) upstreams: BTreeMap<Upstream, Vec<Action>>,
    pub(super) spelling: Spelling,
    pub(super) resources: HashMap<(Upstream, Resource), Listed>,
    /// Why by themselves: each policy may name some, and there may be a hundred thousand.
    pub(super) ids: HashSet<String>,
    pub(super) agents: AgentRules,
    pub(super) persons: HashMap<PrincipalId, BTreeSet<String>>,
    pub(super) people: Arc<People>,
    pub(super) groups: BTreeMap<GroupName, Group>,
    pub(super) budgets: Vec<Arc<Budget>>,
    pub(super) glasses: Vec<Glass>,
    pub(super) reviewers: BTreeMap<ReviewerName, Bounds>,
    pub(super) routes: Vec<Route>,
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
    /// The program that is asked before them, and may answer in their place.
    pub reviewer: Option<ReviewerName>,
}

impl Group {
    /// Tells whether somebody is of it: by name, or by the word of the issuer that named it.
    #[must_use]
    pub fn holds(&self, who: &Principal) -> bool {
        let claimed = |issuer: &Issuer| {
            let of = self.claimed.iter().filter(|(by, _)| by == issuer);
            of.into_iter().any(|(_, name)| who.groups.iter().any(|group| **group == **name))
        };
        // Why people only there: a program in the issuer's group is not named by anybody here.
        let person = who.kind == PrincipalKind::Person;
        self.members.contains(&who.id) || (person && who.issuer.as_ref().is_some_and(claimed))
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

/// All of them, found by the segments that their patterns begin with. Why: there is one for each team,
/// and trying all costs more than everything else that a question needs.
#[derive(Debug, Default)]
pub(super) struct AgentRules {
    rules: Vec<AgentRule>,
    by_stem: HashMap<String, Vec<usize>>,
}

impl AgentRules {
    /// Adds one.
    pub fn push(&mut self, rule: AgentRule) {
        let text = rule.who.to_string();
        let stem = text.split('*').next().unwrap_or_default();
        // Why not up to the wildcard: a segment that holds one is no literal segment.
        let stem =
            if stem == text { stem } else { stem.rsplit_once('/').map_or("", |(all, _)| all) };
        self.by_stem.entry(stem.to_owned()).or_default().push(self.rules.len());
        self.rules.push(rule);
    }

    /// In the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &AgentRule> {
        self.rules.iter()
    }

    /// Those whose pattern matches.
    fn about<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r AgentRule> {
        let parts = name.match_indices('/').filter_map(|(slash, _)| name.get(..slash));
        let stems = parts.chain(["", name]);
        let places = stems.filter_map(|stem| self.by_stem.get(stem)).flatten();
        let rules = places.filter_map(|place| self.rules.get(*place));
        rules.filter(|rule| rule.who.matches(name))
    }
}

/// What is known about one agent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AgentFacts {
    /// Its teams.
    pub teams: BTreeSet<String>,
    /// 0 to 10.
    pub trust: i64,
}

/// What is read of a body before its call is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// All of it.
    Whole(Format),
    /// Nothing.
    Unread,
}

impl Catalogue {
    /// How the body of a call has to be read before it is known what the call is; `None` if no route lets a body
    /// pass.
    #[must_use]
    pub fn reads(&self, upstream: &Upstream, method: &str, path: &PlainPath) -> Option<Reading> {
        let passes = |route: &Route| match route.format() {
            Some(format) => Some(Reading::Whole(format)),
            None => route.takes(method, path, &Content::Unread).map(|_| Reading::Unread),
        };
        self.routes_at(upstream, method, path).find_map(passes)
    }

    /// What a call of an upstream's API is: the first route that takes all of it, and the resource that it is
    /// about.
    #[must_use]
    pub fn route(
        &self,
        upstream: &Upstream,
        method: &str,
        path: &PlainPath,
        content: &Content,
    ) -> Option<(&Route, Resource)> {
        let mut all = self.routes_at(upstream, method, path);
        all.find_map(|route| Some((route, route.takes(method, path, content)?)))
    }

    /// The routes that a call may be, by its method and path, in their order.
    pub fn routes_at<'c, 'q>(
        &'c self,
        upstream: &'q Upstream,
        method: &'q str,
        path: &'q PlainPath,
    ) -> impl Iterator<Item = &'c Route> + use<'c, 'q> {
        let of = move || self.routes.iter().filter(|route| route.upstream == *upstream);
        // Why: what the routes of GraphQL refuse must not go by one that does not look.
        let graphql = of().any(|route| route.speaks_graphql_at(path));
        of().filter(move |route| {
            route.is_at(method, path) && (!graphql || route.format() == Some(Format::Graphql))
        })
    }

    /// What is known about an agent. Of several entries that match, the teams add up and the
    /// lowest trust counts.
    #[must_use]
    pub fn agent(&self, id: &PrincipalId) -> AgentFacts {
        let rules: Vec<_> = self.agents.about(id.as_str()).collect();
        AgentFacts {
            teams: rules.iter().flat_map(|rule| rule.teams.iter().cloned()).collect(),
            trust: rules.iter().filter_map(|rule| rule.trust).min().unwrap_or(0),
        }
    }

    /// The people that are declared, under all of their names.
    #[must_use]
    pub fn people(&self) -> &Arc<People> {
        &self.people
    }

    /// The teams of a person.
    pub fn teams_of(&self, person: &PrincipalId) -> impl Iterator<Item = &str> {
        self.persons.get(person).into_iter().flatten().map(String::as_str)
    }

    /// The listed resources that a person's teams own.
    #[must_use]
    pub fn owned_by(&self, person: &PrincipalId) -> Resources {
        let mut owned = Resources::default();
        for (upstream, resource) in self.owned(person) {
            owned.0.entry(upstream.clone()).or_default().insert(resource.clone());
        }
        owned
    }

    /// Tells whether a person's teams own anything.
    #[must_use]
    pub fn owns_any(&self, person: &PrincipalId) -> bool {
        self.owned(person).next().is_some()
    }

    fn owned(&self, person: &PrincipalId) -> impl Iterator<Item = &(Upstream, Resource)> {
        // Why first: most callers are of no team, and the resources are many.
        let teams = self.persons.get(person).filter(|teams| !teams.is_empty());
        let all = teams.into_iter().flat_map(|teams| {
            self.resources.iter().filter(|(_, listed)| {
                listed.owner.as_ref().is_some_and(|owner| teams.contains(owner))
            })
        });
        all.map(|(place, _)| place)
    }

    /// A resource, if it is listed.
    #[must_use]
    pub fn resource(&self, upstream: &Upstream, resource: &Resource) -> Option<&Listed> {
        // Why not borrowed: a prepared question asks only once.
        self.resources.get(&(upstream.clone(), resource.clone()))
    }

    /// How names of resources are spelled.
    #[must_use]
    pub fn spelling(&self) -> &Spelling {
        &self.spelling
    }

    /// What named people may do in an emergency.
    #[must_use]
    pub fn glasses(&self) -> &[Glass] {
        &self.glasses
    }

    /// What grants are counted against.
    #[must_use]
    pub fn budgets(&self) -> &[Arc<Budget>] {
        &self.budgets
    }

    /// Every approver group.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// An approver group; `None` if there is none such.
    #[must_use]
    pub fn group(&self, name: &GroupName) -> Option<&Group> {
        self.groups.get(name)
    }

    /// The reviewer that a group names, with its bounds.
    #[must_use]
    pub fn reviewer_of(&self, group: &GroupName) -> Option<(&ReviewerName, &Bounds)> {
        self.reviewers.get_key_value(self.group(group)?.reviewer.as_ref()?)
    }

    /// The reviewers that groups name.
    pub fn reviewers(&self) -> impl Iterator<Item = &ReviewerName> {
        let named = |name: &&ReviewerName| {
            self.groups.values().any(|group| group.reviewer.as_ref() == Some(*name))
        };
        self.reviewers.keys().filter(named)
    }
}
