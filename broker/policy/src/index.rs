//! Picks the few policies that can be about a question, because Cedar evaluates all it is handed.
//!
//! A policy is in the slice if its scope, the part in parentheses, matches. Cedar itself evaluates
//! the scope first and nothing else if that fails, so what is left out could neither decide nor
//! fail. The generated tests beside this file compare every slice with the whole set.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use cedar_policy::{
    ActionConstraint, EntityTypeName, EntityUid, Policy, PolicySet, PolicySetError,
    PrincipalConstraint, ResourceConstraint,
};
use jeton_domain::decision::PolicyId;
use moka::sync::Cache;

use super::limits::SLICES;

/// One end of a question: an entity and all that it is in.
pub(super) struct Lineage {
    kind: EntityTypeName,
    /// The entity itself and its ancestors.
    within: HashSet<EntityUid>,
}

impl Lineage {
    pub fn new(entity: &EntityUid, ancestors: impl IntoIterator<Item = EntityUid>) -> Self {
        let within = ancestors.into_iter().chain([entity.clone()]).collect();
        Self { kind: entity.type_name().clone(), within }
    }
}

/// A policy, and what it reads that costs something.
pub(super) struct Rule {
    pub policy: Policy,
    pub reads_now: bool,
    pub reads_content: bool,
    /// Whether it denies direct delivery: it reads what only the gateway sees, and does not opt out.
    pub gateway_only: bool,
}

/// The policies for one kind of question.
pub(super) struct Slice {
    pub policies: PolicySet,
    /// Whether one of them reads the time. Why known: a time costs more than all other inputs.
    pub reads_now: bool,
    /// Whether one of them reads what a push brings along. Why known: then the push must be read.
    pub reads_content: bool,
    /// Those that deny direct delivery, sorted.
    pub gateway_only: Vec<PolicyId>,
}

/// All policies of a set, and the ways to find them.
pub(super) struct Index {
    rules: Vec<Rule>,
    scopes: Vec<PolicyScope>,
    /// Why by both ends: a policy that names but one of them would be looked at for every question that
    /// is about the other.
    by_ends: Pins<Pins<Vec<usize>>>,
    slices: Cache<Vec<usize>, Arc<Slice>>,
}

impl Index {
    pub fn new(rules: Vec<Rule>) -> Self {
        let scopes: Vec<_> = rules.iter().map(|rule| PolicyScope::of(&rule.policy)).collect();
        let mut by_ends = Pins::<Pins<Vec<usize>>>::default();
        for (place, scope) in scopes.iter().enumerate() {
            by_ends.each(&scope.principal, |pins| {
                pins.each(&scope.resource, |places| places.push(place));
            });
        }
        Self { by_ends, slices: Cache::new(SLICES), scopes, rules }
    }

    /// The policies that deny direct delivery, in no order.
    #[cfg(feature = "prove")]
    pub fn gateway_only(&self) -> impl Iterator<Item = &Policy> {
        self.rules.iter().filter(|rule| rule.gateway_only).map(|rule| &rule.policy)
    }

    /// All policies, in no order.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.rules.iter().map(|rule| &rule.policy)
    }

    /// The policies whose scope holds the question.
    pub fn slice(
        &self,
        principal: &Lineage,
        action: &Lineage,
        resource: &Lineage,
    ) -> Result<Arc<Slice>, Box<PolicySetError>> {
        let places = self.candidates(principal, action, resource);
        if let Some(slice) = self.slices.get(&places) {
            return Ok(slice);
        }
        let rules = || places.iter().filter_map(|place| self.rules.get(*place));
        let policies = rules().map(|rule| rule.policy.clone());
        let slice = Arc::new(Slice {
            policies: PolicySet::from_policies(policies).map_err(Box::new)?,
            reads_now: rules().any(|rule| rule.reads_now),
            reads_content: rules().any(|rule| rule.reads_content),
            gateway_only: gateway_only(rules()),
        });
        self.slices.insert(places, slice.clone());
        Ok(slice)
    }

    /// All policies, for comparison.
    #[cfg(test)]
    pub fn everything(&self) -> Slice {
        let policies = self.rules.iter().map(|rule| rule.policy.clone());
        Slice {
            policies: PolicySet::from_policies(policies).unwrap(),
            reads_now: self.rules.iter().any(|rule| rule.reads_now),
            reads_content: self.rules.iter().any(|rule| rule.reads_content),
            gateway_only: gateway_only(self.rules.iter()),
        }
    }

    fn candidates(&self, principal: &Lineage, action: &Lineage, resource: &Lineage) -> Vec<usize> {
        let matches = |place: &usize| {
            self.scopes.get(*place).is_some_and(|scope| {
                scope.principal.holds(principal)
                    && scope.action.holds(action)
                    && scope.resource.holds(resource)
            })
        };
        let within_both = self.by_ends.around(principal).flat_map(|pins| pins.around(resource));
        let mut found: Vec<_> = within_both.flatten().copied().filter(matches).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn gateway_only<'r>(rules: impl Iterator<Item = &'r Rule>) -> Vec<PolicyId> {
    let ids = rules.filter(|rule| rule.gateway_only).map(|rule| rule.policy.id().as_ref());
    let mut ids: Vec<_> = ids.map(PolicyId::new).collect();
    ids.sort();
    ids
}

/// Things by the entities that one part of a scope names.
#[derive(Default)]
struct Pins<T> {
    anywhere: T,
    at: HashMap<EntityUid, T>,
}

impl<T: Default> Pins<T> {
    /// Visits all that a constraint pins.
    fn each(&mut self, constraint: &Constraint, mut visit: impl FnMut(&mut T)) {
        match &constraint.entities {
            None => visit(&mut self.anywhere),
            Some(entities) => {
                for entity in entities {
                    visit(self.at.entry(entity.clone()).or_default());
                }
            }
        }
    }

    /// What can hold one end of a question.
    fn around<'a>(&'a self, lineage: &'a Lineage) -> impl Iterator<Item = &'a T> {
        let pinned = lineage.within.iter().filter_map(|entity| self.at.get(entity));
        std::iter::once(&self.anywhere).chain(pinned)
    }
}

struct PolicyScope {
    principal: Constraint,
    action: Constraint,
    resource: Constraint,
}

/// One part of a scope: of this type, if one is named, and in one of these, if some are.
///
/// `==` is read as `in`. Why that is enough: it may take a policy too many into the slice, which
/// Cedar then finds not to match, and never one too few.
#[derive(Default)]
struct Constraint {
    kind: Option<EntityTypeName>,
    entities: Option<Vec<EntityUid>>,
}

impl Constraint {
    fn within(entities: impl IntoIterator<Item = EntityUid>) -> Self {
        Self { kind: None, entities: Some(entities.into_iter().collect()) }
    }

    fn is(kind: EntityTypeName, within: Option<EntityUid>) -> Self {
        Self { kind: Some(kind), entities: within.map(|entity| vec![entity]) }
    }

    fn holds(&self, lineage: &Lineage) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == lineage.kind)
            && self
                .entities
                .as_ref()
                .is_none_or(|list| list.iter().any(|entity| lineage.within.contains(entity)))
    }
}

impl PolicyScope {
    fn of(policy: &Policy) -> Self {
        Self {
            principal: match policy.principal_constraint() {
                PrincipalConstraint::Any => Constraint::default(),
                PrincipalConstraint::In(entity) | PrincipalConstraint::Eq(entity) => {
                    Constraint::within([entity])
                }
                PrincipalConstraint::Is(kind) => Constraint::is(kind, None),
                PrincipalConstraint::IsIn(kind, entity) => Constraint::is(kind, Some(entity)),
            },
            action: match policy.action_constraint() {
                ActionConstraint::Any => Constraint::default(),
                ActionConstraint::In(entities) => Constraint::within(entities),
                ActionConstraint::Eq(entity) => Constraint::within([entity]),
            },
            resource: match policy.resource_constraint() {
                ResourceConstraint::Any => Constraint::default(),
                ResourceConstraint::In(entity) | ResourceConstraint::Eq(entity) => {
                    Constraint::within([entity])
                }
                ResourceConstraint::Is(kind) => Constraint::is(kind, None),
                ResourceConstraint::IsIn(kind, entity) => Constraint::is(kind, Some(entity)),
            },
        }
    }
}
