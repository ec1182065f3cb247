//! The answers of a policy set: Cedar's, put into the words of the domain.
//!
//! A policy that fails to evaluate makes the answer an error, whatever the others say.

use std::sync::Arc;

use cedar_policy::{Context, Decision, Request, RestrictedExpression};
use jeton_domain::{
    approval::Guard,
    budget::Budget,
    decision::{Delivery, PolicyId, Question, Rules, Verdict},
    deed::Deed,
    delegation::Chain,
    principal::{PrincipalId, PrincipalKind},
    scope::Scope,
    session::Session,
    ttl::{Timestamp, Ttl},
};

use super::{
    load::PolicySet,
    prepare::{Prepared, Trouble},
};

/// Who wants to open a session, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct Opener<'a> {
    /// Whoever asks.
    pub id: &'a PrincipalId,
    /// Program or person.
    pub kind: PrincipalKind,
    /// The agent that is to run.
    pub agent: &'a PrincipalId,
    /// For whom.
    pub person: Option<&'a PrincipalId>,
    /// The sessions above it.
    pub chain: &'a Chain,
    /// How long.
    pub ttl: Ttl,
    /// When.
    pub now: Timestamp,
}

type Pair = (String, RestrictedExpression);

impl Rules for PolicySet {
    fn judge(&self, question: &Question<'_>) -> Verdict {
        if !self.vocabulary.knows(&question.scope.upstream, question.action) {
            return Verdict::Nothing;
        }
        let answer = self.prepare(question).and_then(|prepared| {
            let judge = || -> Result<Verdict, Trouble> {
                let request = self.grant_request(&prepared, question)?;
                Ok(self.ask(&prepared, &request))
            };
            let verdict = match prepared.slice.reads_now {
                true => judge(),
                false => prepared.memo.answer(question, judge),
            };
            Ok(delivered(verdict?, question.delivery, &prepared.gateway_only))
        });
        answer.unwrap_or_else(trouble)
    }

    fn hash(&self) -> &str {
        &self.hash
    }

    fn budgets(&self) -> &[Arc<Budget>] {
        self.catalogue.budgets()
    }
}

impl PolicySet {
    /// Tells whether someone may open a session for an agent.
    #[must_use]
    pub fn may_open(&self, opener: Opener<'_>) -> Verdict {
        let answer = self.prepare_opening(opener).and_then(|prepared| {
            Ok(self.ask(&prepared, &self.opening_request(&prepared, opener)?))
        });
        answer.unwrap_or_else(trouble)
    }

    /// Tells whether a policy about what a session does here reads what a push brings along, and not only
    /// which refs it moves. When it can't be known it does.
    #[must_use]
    pub fn reads_content(&self, session: &Session, scope: &Scope) -> bool {
        let agents = session.chain.links().iter().map(|link| &link.agent);
        let mut agents = agents.chain([&session.agent]);
        agents.any(|agent| {
            scope.actions.iter().any(|action| {
                let prepared = self.prepare_for(agent, session.person.as_ref(), scope, action);
                prepared.map_or(true, |prepared| prepared.slice.reads_content)
            })
        })
    }

    pub(super) fn opening_request(
        &self,
        prepared: &Prepared,
        opener: Opener<'_>,
    ) -> Result<Request, Trouble> {
        request(prepared, opener.ttl, opener.now, self.delegation(opener.chain))
    }

    pub(super) fn grant_request(
        &self,
        prepared: &Prepared,
        question: &Question<'_>,
    ) -> Result<Request, Trouble> {
        let delivery = question.delivery.word();
        let approvals = question
            .approvals
            .iter()
            .map(|group| RestrictedExpression::new_entity_uid(self.names.group(group.as_str())));
        let mut pairs = self.delegation(question.chain);
        pairs.extend([
            ("delivery".to_owned(), RestrictedExpression::new_string(delivery.to_owned())),
            ("approvals".to_owned(), RestrictedExpression::new_set(approvals)),
        ]);
        if let Some(git_ref) = &question.scope.git_ref {
            let text = git_ref.as_str().to_owned();
            pairs.push(("ref".to_owned(), RestrictedExpression::new_string(text)));
        }
        pairs.extend(question.deed.into_iter().flat_map(done));
        request(prepared, question.ttl, question.now, pairs)
    }

    /// Through whose sessions it was passed on.
    fn delegation(&self, chain: &Chain) -> Vec<Pair> {
        let agents = chain.links().iter().map(|link| self.names.agent(link.agent.as_str()));
        let agents = agents.map(RestrictedExpression::new_entity_uid);
        let depth = i64::try_from(chain.depth()).unwrap_or(i64::MAX);
        vec![
            ("depth".to_owned(), RestrictedExpression::new_long(depth)),
            ("delegators".to_owned(), RestrictedExpression::new_set(agents)),
        ]
    }

    pub(super) fn ask(&self, prepared: &Prepared, request: &Request) -> Verdict {
        let response =
            self.authorizer.is_authorized(request, &prepared.slice.policies, &prepared.entities);
        let errors = response.diagnostics().errors().map(|error| match error {
            cedar_policy::AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
        });
        let failed = sorted(errors);
        if !failed.is_empty() {
            return Verdict::Error(failed);
        }
        let reasons = || response.diagnostics().reason();
        match response.decision() {
            Decision::Allow => Verdict::Allow(sorted(reasons())),
            Decision::Deny if reasons().next().is_none() => Verdict::Nothing,
            Decision::Deny => Verdict::Forbid(self.guards_of(reasons())),
        }
    }

    fn guards_of<'a>(
        &self,
        forbids: impl Iterator<Item = &'a cedar_policy::PolicyId>,
    ) -> Vec<Guard> {
        let guard = |policy: PolicyId| {
            // Why not skipped if it were missing: a forbid that nobody knows must refuse for good.
            let unknown =
                || Guard { policy: policy.clone(), groups: vec![], reason: Default::default() };
            self.guards.get(&policy).cloned().unwrap_or_else(unknown)
        };
        sorted(forbids).into_iter().map(guard).collect()
    }
}

/// What an answer means for a delivery. A restriction that can't be enforced for a delivery denies that
/// delivery: whoever holds a credential pushes and calls where no policy is asked.
fn delivered(verdict: Verdict, delivery: Delivery, gateway_only: &[PolicyId]) -> Verdict {
    if delivery == Delivery::Gateway || gateway_only.is_empty() {
        return verdict;
    }
    match verdict {
        // Why a guard too: its group must not be asked to lift what no approval can enforce.
        Verdict::Allow(_) => Verdict::GatewayOnly(gateway_only.to_vec()),
        Verdict::Forbid(guards) if guards.iter().all(|guard| !guard.groups.is_empty()) => {
            Verdict::GatewayOnly(gateway_only.to_vec())
        }
        refused @ (Verdict::Forbid(_)
        | Verdict::Nothing
        | Verdict::GatewayOnly(_)
        | Verdict::Error(_)) => refused,
    }
}

/// Makes a request of what was prepared and what changes. The pairs are what its context holds
/// beside what every context does.
fn request(
    prepared: &Prepared,
    ttl: Ttl,
    now: Timestamp,
    mut pairs: Vec<Pair>,
) -> Result<Request, Trouble> {
    pairs.push(("ttl".to_owned(), RestrictedExpression::new_long(ttl.seconds().into())));
    if let Some(person) = &prepared.person {
        pairs.push(("person".to_owned(), RestrictedExpression::new_entity_uid(person.clone())));
    }
    if prepared.slice.reads_now {
        let text = jiff::Timestamp::from_second(now.seconds())?.to_string();
        pairs.push(("now".to_owned(), RestrictedExpression::new_datetime(text)));
    }
    Ok(Request::new(
        prepared.principal.clone(),
        prepared.action.clone(),
        prepared.resource.clone(),
        Context::from_pairs(pairs)?,
        None,
    )?)
}

/// What the gateway sees being done.
fn done(deed: &Deed) -> Vec<Pair> {
    let text = |name: &str, text: &str| {
        (name.to_owned(), RestrictedExpression::new_string(text.to_owned()))
    };
    let mut pairs = match deed {
        Deed::Move(_) => vec![],
        Deed::Commit { author, signed_off, .. } => vec![
            text("author", author),
            ("signed_off".to_owned(), RestrictedExpression::new_bool(*signed_off)),
        ],
        Deed::File { path, bytes, .. } => {
            let bytes = bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
            let size = bytes.map(|n| ("bytes".to_owned(), RestrictedExpression::new_long(n)));
            [text("file", path)].into_iter().chain(size).collect()
        }
        Deed::Call { method, path, operation } => {
            let asked = operation.iter().flat_map(|operation| {
                let fields = operation.fields.iter().cloned();
                let fields = fields.map(RestrictedExpression::new_string);
                let fields = RestrictedExpression::new_set(fields);
                [text("operation", operation.kind.word()), ("fields".to_owned(), fields)]
            });
            [text("method", method), text("path", path)].into_iter().chain(asked).collect()
        }
    };
    pairs.extend(deed.change().map(|change| text("change", change.word())));
    pairs
}

fn sorted<'a>(ids: impl Iterator<Item = &'a cedar_policy::PolicyId>) -> Vec<PolicyId> {
    let mut ids: Vec<_> = ids.map(|id| PolicyId::new(id.as_ref())).collect();
    ids.sort();
    ids
}

fn trouble(error: Trouble) -> Verdict {
    tracing::error!(%error, "a question could not be put to the policies; the answer is no");
    Verdict::Error(vec![])
}
