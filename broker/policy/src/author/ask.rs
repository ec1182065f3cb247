//! One question to a set of policies, and what it answers.

use std::collections::BTreeSet;

use jeton_domain::{
    approval::{GroupName, Guard},
    decision::{Decision, Delivery, Denial, GrantRequest, Layer, PolicyId, Standing, decide},
    delegation::{Chain, ChainError, Link},
    id::{Row, SessionId, Tag},
    limits::GRANT_TTL_SECONDS,
    pattern::Pattern,
    principal::{Issuers, PrincipalId},
    revocation::Stops,
    scope::{Action, Actions, Scope, ScopeBound, ScopeError},
    session::{Binding, Envelope, EnvelopeError, Session, SessionState, Words},
    ttl::{Timestamp, Ttl},
};

use crate::PolicySet;

/// Who asks for what, and how.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The agent.
    pub agent: PrincipalId,
    /// The person that it acts for.
    pub person: Option<PrincipalId>,
    /// The agents that passed it on, from the first.
    pub delegators: Vec<PrincipalId>,
    /// What it asks for.
    pub scope: Scope,
    /// How long; `None` asks for the longest that is allowed.
    pub ttl: Option<Ttl>,
    /// Delivered where.
    pub delivery: Delivery,
    /// Groups that approved it.
    pub approvals: BTreeSet<GroupName>,
    /// When.
    pub at: Timestamp,
}

/// What the policies answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes, so long.
    Allow {
        /// How long.
        ttl: Ttl,
        /// By these.
        policies: Vec<PolicyId>,
    },
    /// Yes, once these guards are lifted.
    NeedsApproval {
        /// How long.
        ttl: Ttl,
        /// Which.
        guards: Vec<Guard>,
        /// What decided.
        policies: Vec<PolicyId>,
    },
    /// No.
    Deny {
        /// Which layer says so.
        layer: Layer,
        /// Why.
        reason: String,
        /// What decided.
        policies: Vec<PolicyId>,
        /// What would be granted instead: the nearest first.
        instead: Vec<String>,
    },
}

impl Answer {
    /// The word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::NeedsApproval { .. } => "needs approval",
            Self::Deny { .. } => "deny",
        }
    }

    /// What decided.
    #[must_use]
    pub fn policies(&self) -> &[PolicyId] {
        match self {
            Self::Allow { policies, .. }
            | Self::NeedsApproval { policies, .. }
            | Self::Deny { policies, .. } => policies,
        }
    }

    /// The groups that could lift what stands in the way.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<GroupName> {
        match self {
            Self::NeedsApproval { guards, .. } => {
                guards.iter().flat_map(|guard| guard.groups.iter().cloned()).collect()
            }
            Self::Allow { .. } | Self::Deny { .. } => BTreeSet::new(),
        }
    }
}

/// An answer, and the delivery that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The delivery; `None` if it makes no difference.
    pub delivery: Option<Delivery>,
    /// The answer.
    pub answer: Answer,
}

/// Every delivery, the preferred one first.
pub const DELIVERIES: &[Delivery] = &[Delivery::Gateway, Delivery::Direct];

/// Asks about several deliveries. Answers that are the same become one.
///
/// # Errors
/// When one of them can't be asked.
pub fn by_delivery<E>(
    deliveries: &[Delivery],
    mut ask: impl FnMut(Delivery) -> Result<Answer, E>,
) -> Result<Vec<Delivered>, E> {
    let one =
        |delivery: &Delivery| Ok(Delivered { delivery: Some(*delivery), answer: ask(*delivery)? });
    let mut answers = deliveries.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    if answers.iter().zip(answers.iter().skip(1)).all(|(a, b)| a.answer == b.answer) {
        answers.truncate(1);
        answers.iter_mut().for_each(|one| one.delivery = None);
    }
    Ok(answers)
}

/// Why a question can't be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Passed on too often.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A scope that no envelope holds.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A scope that no envelope can name.
    #[error(transparent)]
    Scope(#[from] ScopeError),
}

/// Asks. The session has an envelope that holds whatever the resource may be asked for, so that only
/// the policies decide.
///
/// # Errors
/// When no session could ask this.
pub fn ask(set: &PolicySet, ask: &Ask) -> Result<Answer, AskError> {
    let scope = set.catalogue().spelling().scope(ask.scope.clone());
    let ask = &Ask { scope, ..ask.clone() };
    let session = session(ask)?;
    let (stops, issuers) = (Stops::default(), Issuers::default());
    let standing = Standing {
        session: &session,
        state: &SessionState::Open,
        approvals: &ask.approvals,
        approved_by: &[],
        stops: &stops,
        issuers: &issuers,
        now: ask.at,
    };
    let request = GrantRequest {
        scope: ask.scope.clone(),
        ttl: ask.ttl,
        delivery: ask.delivery,
        deed: None,
        reason: Words::default(),
    };
    Ok(decide(set, standing, &request).into())
}

impl From<Decision> for Answer {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Permit(permit) => {
                let policies = permit.decided_by().policies.clone();
                Self::Allow { ttl: permit.ttl(), policies }
            }
            Decision::NeedsApproval { guards, ttl, decided_by } => {
                Self::NeedsApproval { ttl, guards, policies: decided_by.policies }
            }
            Decision::Deny(Denial { layer, reason, decided_by, requestable }) => {
                Self::Deny { layer, reason, policies: decided_by.policies, instead: requestable }
            }
        }
    }
}

/// A session that nobody opened.
fn session(ask: &Ask) -> Result<Session, AskError> {
    let id = |row: u64| SessionId::new(Row::new(row).unwrap_or(Row::FIRST), Tag([0; 10]));
    let above = (2..).map(id).zip(ask.delegators.iter().cloned());
    let links: Vec<_> = above.map(|(session, agent)| Link { session, agent }).collect();
    let longest = Ttl::from_seconds(GRANT_TTL_SECONDS);
    Ok(Session {
        id: id(1),
        agent: ask.agent.clone(),
        person: ask.person.clone(),
        opener: ask.agent.clone(),
        task: Words::default(),
        envelope: Envelope::new(bounds(&ask.scope)?, 1, GRANT_TTL_SECONDS)?,
        binding: Binding::Bearer,
        handle_hash: [0; 32],
        opened: ask.at,
        deadline: longest.map_or(ask.at, |longest| ask.at.plus(longest)),
        chain: Chain::try_from(links)?,
        issuers: vec![],
    })
}

/// The asked actions and the reads beside them, on every ref of the resource.
fn bounds(scope: &Scope) -> Result<Vec<ScopeBound>, AskError> {
    let mut actions: BTreeSet<Action> = scope.actions.iter().cloned().collect();
    for action in scope.actions.iter() {
        actions.insert(Action::parse(&format!("{}:read", action.permission()))?);
    }
    let wide = Scope { actions: Actions::new(actions)?, git_ref: None, ..scope.clone() };
    // Why not by the text: a log of before may tell of a ref that limited nothing.
    let bound = |scope: &Scope| -> Result<ScopeBound, AskError> {
        let Scope { upstream, resource, actions, git_ref } = scope.clone();
        let resource = Pattern::parse(resource.as_str()).map_err(ScopeError::ResourcePattern)?;
        Ok(ScopeBound { upstream, resource, actions, git_ref })
    };
    [&wide, scope].into_iter().map(bound).collect()
}
