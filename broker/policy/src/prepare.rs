//! What of a question is the same each time it is asked: the entities and the slice of policies.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use cedar_policy::{Entities, Entity, EntityUid, RestrictedExpression};
use jeton_domain::{
    decision::{PolicyId, Question},
    principal::{PrincipalId, PrincipalKind},
    scope::{Action, Scope},
};

use super::{
    index::{Lineage, Slice},
    judge::Opener,
    load::PolicySet,
    memo::Memo,
    vocabulary::level_group,
};

/// A question without its context.
pub(super) struct Prepared {
    pub principal: EntityUid,
    pub action: EntityUid,
    pub resource: EntityUid,
    pub person: Option<EntityUid>,
    pub entities: Entities,
    pub slice: Arc<Slice>,
    /// The policies that deny direct delivery, sorted: of the action, and of those that it covers.
    pub gateway_only: Vec<PolicyId>,
    pub memo: Memo,
}

/// Why no question could be prepared. Never seen with a set that loaded; the answer is then "no".
pub(super) type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// An entity with what it is in.
struct Fact {
    uid: EntityUid,
    attributes: HashMap<String, RestrictedExpression>,
    ancestors: Vec<EntityUid>,
}

impl PolicySet {
    /// Prepares the question for one action of a grant, or finds it prepared.
    pub(super) fn prepare(&self, question: &Question<'_>) -> Result<Arc<Prepared>, Trouble> {
        let Question { agent, person, scope, action, .. } = *question;
        self.prepare_for(agent, person, scope, action)
    }

    /// The same by what stays while it is asked again.
    pub(super) fn prepare_for(
        &self,
        agent: &PrincipalId,
        person: Option<&PrincipalId>,
        scope: &Scope,
        action: &Action,
    ) -> Result<Arc<Prepared>, Trouble> {
        // No name holds a line feed, so no two questions have one key.
        let key =
            format!("{agent}\n{}\n{}\n{}\n{action}", text(person), scope.upstream, scope.resource);
        // Why the covered ones: a credential to write reads as well, where no policy about reading is asked.
        let covered = || action.covered().skip(1).map(|lower| self.action(&lower)).collect();
        self.prepared_by(
            key,
            || ([self.agent(agent), self.action(action), self.resource(scope)], covered()),
            person,
        )
    }

    /// Prepares the question whether a session may be opened.
    pub(super) fn prepare_opening(&self, opener: Opener<'_>) -> Result<Arc<Prepared>, Trouble> {
        let Opener { id: opener, kind, agent, person, .. } = opener;
        let (mark, principal): (_, fn(&Self, &PrincipalId) -> Fact) = match kind {
            PrincipalKind::Workload => ("workload opens", Self::agent),
            PrincipalKind::Person => ("person opens", Self::person),
        };
        let key = format!("{mark}\n{opener}\n{agent}\n{}", text(person));
        self.prepared_by(
            key,
            || {
                let action = Fact::bare(self.names.action("open_session"));
                ([principal(self, opener), action, self.agent(agent)], vec![])
            },
            person,
        )
    }

    fn prepared_by(
        &self,
        key: String,
        facts: impl FnOnce() -> ([Fact; 3], Vec<Fact>),
        person: Option<&PrincipalId>,
    ) -> Result<Arc<Prepared>, Trouble> {
        if let Some(prepared) = self.prepared.get(&key) {
            return Ok(prepared);
        }
        let ([principal, action, resource], covered) = facts();
        let person = person.map(|person| self.person(person));
        let slice = |action: &Fact| {
            self.index.slice(&principal.lineage(), &action.lineage(), &resource.lineage())
        };
        let mut gateway_only = BTreeSet::new();
        for lower in &covered {
            gateway_only.extend(slice(lower)?.gateway_only.iter().cloned());
        }
        let slice = slice(&action)?;
        gateway_only.extend(slice.gateway_only.iter().cloned());
        let prepared = Arc::new(Prepared {
            principal: principal.uid.clone(),
            action: action.uid.clone(),
            resource: resource.uid.clone(),
            person: person.as_ref().map(|person| person.uid.clone()),
            entities: entities([principal, action, resource].into_iter().chain(person))?,
            slice,
            gateway_only: gateway_only.into_iter().collect(),
            memo: Memo::default(),
        });
        self.prepared.insert(key, prepared.clone());
        Ok(prepared)
    }

    fn agent(&self, id: &PrincipalId) -> Fact {
        let facts = self.catalogue.agent(id);
        Fact {
            uid: self.names.agent(id.as_str()),
            attributes: HashMap::from([
                ("name".to_owned(), string(id.as_str())),
                ("trust".to_owned(), RestrictedExpression::new_long(facts.trust)),
            ]),
            ancestors: facts.teams.iter().map(|team| self.names.team(team)).collect(),
        }
    }

    fn person(&self, id: &PrincipalId) -> Fact {
        Fact {
            uid: self.names.person(id.as_str()),
            attributes: HashMap::from([("name".to_owned(), string(id.as_str()))]),
            ancestors: self.catalogue.teams_of(id).map(|team| self.names.team(team)).collect(),
        }
    }

    fn action(&self, action: &Action) -> Fact {
        let groups = ["grant", level_group(action)].map(|group| self.names.action(group));
        Fact { ancestors: groups.into(), ..Fact::bare(self.names.action(action.as_str())) }
    }

    fn resource(&self, scope: &Scope) -> Fact {
        let Scope { upstream, resource, .. } = scope;
        let uid = |uid| RestrictedExpression::new_entity_uid(uid);
        let system = self.names.upstream(upstream);
        let mut attributes = HashMap::from([
            ("name".to_owned(), string(resource.as_str())),
            ("upstream".to_owned(), uid(system.clone())),
        ]);
        let listed = self.catalogue.resource(upstream, resource);
        let labels =
            listed.into_iter().flat_map(|listed| &listed.labels).map(|label| string(label));
        attributes.insert("labels".to_owned(), RestrictedExpression::new_set(labels));
        if let Some(tier) = listed.and_then(|listed| listed.tier.as_ref()) {
            attributes.insert("tier".to_owned(), string(tier));
        }
        if let Some(owner) = listed.and_then(|listed| listed.owner.as_ref()) {
            attributes.insert("owner".to_owned(), uid(self.names.team(owner)));
        }
        let id = listed.and_then(|listed| listed.id.clone());
        Fact {
            uid: self.names.resource(&id.unwrap_or_else(|| format!("{upstream}:{resource}"))),
            attributes,
            ancestors: self.names.org(upstream, resource).into_iter().chain([system]).collect(),
        }
    }
}

impl Fact {
    fn bare(uid: EntityUid) -> Self {
        Self { uid, attributes: HashMap::new(), ancestors: vec![] }
    }

    fn lineage(&self) -> Lineage {
        Lineage::new(&self.uid, self.ancestors.iter().cloned())
    }
}

/// Ancestors need no entities of their own: they have no attributes, and each fact names all of its.
fn entities(facts: impl Iterator<Item = Fact>) -> Result<Entities, Trouble> {
    let made = facts.map(|fact| {
        let ancestors: HashSet<_> = fact.ancestors.into_iter().collect();
        Entity::new(fact.uid, fact.attributes, ancestors).map_err(Box::new)
    });
    Ok(Entities::from_entities(made.collect::<Result<Vec<_>, _>>()?, None)?)
}

fn string(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn text(person: Option<&PrincipalId>) -> &str {
    person.map_or("", PrincipalId::as_str)
}
