//! The one place where access is decided.
//!
//! `decide` asks, in this order: is the session open, has nobody stopped this, does its envelope
//! hold the scope, do the policies allow every action. Only it can make a [`Permit`]; nothing is issued without one.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    approval::{GroupName, Guard},
    budget::{Budget, spends},
    deed::Deed,
    delegation::Chain,
    grant::DecidedBy,
    permit::Permit,
    principal::{Issuers, PrincipalId},
    revocation::{Holder, Stops},
    scope::{Action, Scope},
    session::{Session, SessionState, Words},
    ttl::{Timestamp, Ttl},
};

/// Lives that are tried, longest first, when a request names none, in seconds.
/// Why a ladder: a policy says "at most" as a condition, and conditions can only be tried.
const TTL_LADDER: [u32; 10] = [43_200, 28_800, 14_400, 7_200, 3_600, 1_800, 900, 600, 300, 60];

/// The `@id` of a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyId(Arc<str>);

impl PolicyId {
    /// Takes an id as the policy wrote it.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a credential goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Into the agent's hands.
    #[default]
    Direct,
    /// To the gateway, which adds it to the agent's calls.
    Gateway,
}

impl Delivery {
    /// The word for it in policies and for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Gateway => "gateway",
        }
    }

    /// Tells whether the agent gets it. What entries leave out.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        *self == Self::Direct
    }
}

/// One action of a request, as the policies see it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who would hold it.
    pub agent: &'a PrincipalId,
    /// For whom.
    pub person: Option<&'a PrincipalId>,
    /// Through which sessions it was passed on.
    pub chain: &'a Chain,
    /// On what.
    pub scope: &'a Scope,
    /// To do what.
    pub action: &'a Action,
    /// For how long.
    pub ttl: Ttl,
    /// Delivered where.
    pub delivery: Delivery,
    /// What is done under it, if it is used and not asked for.
    pub deed: Option<&'a Deed>,
    /// Groups that approved just this request.
    pub approvals: &'a BTreeSet<GroupName>,
    /// When.
    pub now: Timestamp,
}

/// What the policies answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed, by these.
    Allow(Vec<PolicyId>),
    /// Refused by these forbids, each with the groups that could lift it; none if it can't be lifted.
    Forbid(Vec<Guard>),
    /// Nothing allows it.
    Nothing,
    /// Allowed only through the gateway: these policies read what a push or a call does, which nobody
    /// sees of a credential that is delivered directly. No approval changes that.
    GatewayOnly(Vec<PolicyId>),
    /// A policy could not be evaluated. Why its own answer: an error must never read as a decision.
    Error(Vec<PolicyId>),
}

impl Verdict {
    /// What two together say: allowed only if both allow it.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Error(mut ids), Self::Error(more)) => {
                ids.extend(more);
                Self::Error(ids)
            }
            (Self::Error(ids), _) | (_, Self::Error(ids)) => Self::Error(ids),
            (Self::Nothing, _) | (_, Self::Nothing) => Self::Nothing,
            (Self::GatewayOnly(mut ids), Self::GatewayOnly(more)) => {
                ids.extend(more);
                Self::GatewayOnly(ids)
            }
            (Self::GatewayOnly(ids), Self::Allow(_) | Self::Forbid(_))
            | (Self::Allow(_) | Self::Forbid(_), Self::GatewayOnly(ids)) => Self::GatewayOnly(ids),
            (Self::Forbid(mut guards), Self::Forbid(more)) => {
                guards.extend(more);
                Self::Forbid(guards)
            }
            (Self::Forbid(guards), Self::Allow(_)) | (Self::Allow(_), Self::Forbid(guards)) => {
                Self::Forbid(guards)
            }
            (Self::Allow(mut ids), Self::Allow(more)) => {
                ids.extend(more);
                Self::Allow(ids)
            }
        }
    }
}

/// A set of policies. Real ones are Cedar's; tests hold them against a plain reference.
pub trait Rules {
    /// Answers one question with all policies of the set.
    fn judge(&self, question: &Question<'_>) -> Verdict;
    /// Names the set.
    fn hash(&self) -> &str;
    /// What grants are counted against.
    fn budgets(&self) -> &[Arc<Budget>] {
        &[]
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRequest {
    /// What it is to open.
    pub scope: Scope,
    /// How long; `None` asks for the longest that is allowed.
    pub ttl: Option<Ttl>,
    /// Delivered where.
    pub delivery: Delivery,
    /// What is done under a grant that is used; `None` where one is asked for.
    pub deed: Option<Deed>,
    /// The agent's words. Never part of the decision.
    pub reason: Words,
}

/// Where a session stands while something is asked in it.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The session.
    pub session: &'a Session,
    /// Its state.
    pub state: &'a SessionState,
    /// Groups that approved just this request.
    pub approvals: &'a BTreeSet<GroupName>,
    /// Entries of their approvals.
    pub approved_by: &'a [u64],
    /// What is not granted to anybody.
    pub stops: &'a Stops,
    /// Whose word counts.
    pub issuers: &'a Issuers,
    /// Now.
    pub now: Timestamp,
}

/// The answer.
pub enum Decision {
    /// Yes, and the proof of it.
    Permit(Permit),
    /// Yes, if people lift these guards.
    NeedsApproval {
        /// Which.
        guards: Vec<Guard>,
        /// How long it would be given.
        ttl: Ttl,
        /// What decided.
        decided_by: DecidedBy,
    },
    /// No.
    Deny(Denial),
}

/// Which layer refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The session is over.
    Session,
    /// Somebody stopped it.
    Stop,
    /// The envelope that the session was opened with.
    Envelope,
    /// The policies of the platform team.
    Policy,
    /// The delivery: what restricts the credential can't be enforced once the agent holds it.
    Delivery,
    /// A budget that is spent.
    Budget,
}

impl Layer {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Stop => "stop",
            Self::Envelope => "envelope",
            Self::Policy => "policy",
            Self::Delivery => "delivery",
            Self::Budget => "budget",
        }
    }
}

/// A refusal that teaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Which layer.
    pub layer: Layer,
    /// Why, in words for the caller.
    pub reason: String,
    /// What decided.
    pub decided_by: DecidedBy,
    /// What could be asked for instead; empty if nothing of the kind.
    pub requestable: Vec<String>,
}

/// Decides one request with the session, the envelope and the policies that hold now.
#[must_use]
pub fn decide(rules: &dyn Rules, standing: Standing<'_>, request: &GrantRequest) -> Decision {
    let mut asked = Asked { rules, standing, request, ids: BTreeSet::new() };
    match asked.within_envelope() {
        Ok(ttls) => asked.by_policy(&ttls),
        Err(denial) => Decision::Deny(denial),
    }
}

struct Asked<'a> {
    rules: &'a dyn Rules,
    standing: Standing<'a>,
    request: &'a GrantRequest,
    ids: BTreeSet<PolicyId>,
}

/// What all actions together got.
enum Outcome {
    Allow,
    Guarded(Vec<Guard>),
    Deny(Layer, String),
}

impl Asked<'_> {
    /// The lives to try, longest first.
    fn within_envelope(&self) -> Result<Vec<Ttl>, Denial> {
        let Standing { session, state, now, .. } = self.standing;
        let left = match state {
            SessionState::Open => now.until(session.deadline),
            SessionState::Closed { .. } | SessionState::Expired { .. } => None,
        };
        let Some(left) = left else {
            return Err(self.deny(Layer::Session, "the session is over".into(), vec![]));
        };
        if let Some(issuer) = self.standing.issuers.removed(&session.issuers) {
            let reason = format!(
                "the session was opened on the word of the issuer {issuer}, which counts no more; open another"
            );
            return Err(self.deny(Layer::Session, reason, vec![]));
        }
        let holder = Holder::of(session);
        if let Some(stop) = self.standing.stops.against(holder, None) {
            return Err(self.deny(Layer::Stop, stop.refusal(), vec![]));
        }
        if !self.envelope_allows(&self.request.scope) {
            let reason = format!("`{}` lies outside the session's envelope", self.request.scope);
            let lines = session.envelope.scopes().iter().map(ToString::to_string).collect();
            return Err(self.deny(Layer::Envelope, reason, lines));
        }
        // Why after the envelope: what is stopped elsewhere is nobody's business here.
        if let Some(stop) = self.standing.stops.against(holder, Some(&self.request.scope)) {
            return Err(self.deny(Layer::Stop, stop.refusal(), vec![]));
        }
        let most = left.min(session.envelope.max_ttl());
        match self.request.ttl {
            Some(ttl) if ttl > session.envelope.max_ttl() => {
                let most = session.envelope.max_ttl().seconds();
                let reason = format!(
                    "{} s is longer than the envelope's {most} s for one grant",
                    ttl.seconds()
                );
                Err(self.deny(
                    Layer::Envelope,
                    reason,
                    vec![format!("{} ttl={most}s", self.request.scope)],
                ))
            }
            // Why not refused: nobody can know the seconds that a session has left.
            Some(ttl) => Ok(vec![ttl.min(left)]),
            None => {
                let steps = TTL_LADDER.iter().filter_map(|step| Ttl::from_seconds(*step));
                Ok(std::iter::once(most).chain(steps.filter(|step| *step < most)).collect())
            }
        }
    }

    fn envelope_allows(&self, scope: &Scope) -> bool {
        let session = self.standing.session;
        match self.request.deed.as_ref().and_then(Deed::change) {
            Some(_) => session.envelope.allows_push(scope, &session.own_refs()),
            None => session.envelope.allows(scope),
        }
    }

    fn by_policy(&mut self, ttls: &[Ttl]) -> Decision {
        let mut refused = None;
        let mut guarded = None;
        for ttl in ttls {
            match self.all_actions(*ttl, self.standing.approvals) {
                Outcome::Allow => {
                    return Decision::Permit(Permit::new(
                        self.standing.session,
                        self.request,
                        *ttl,
                        self.decided_by(),
                        spends(self.rules.budgets(), self.standing.session, self.request),
                        self.standing.now,
                    ));
                }
                Outcome::Guarded(guards) if guarded.is_none() => {
                    guarded = self.liftable(*ttl, guards)
                }
                Outcome::Guarded(_) => {}
                Outcome::Deny(layer, reason) => refused = Some((layer, reason)),
            }
        }
        if let Some((guards, ttl)) = guarded {
            return Decision::NeedsApproval { guards, ttl, decided_by: self.decided_by() };
        }
        let (layer, reason) = refused.unwrap_or_else(|| {
            (Layer::Policy, "the policies refuse it, and no approval lifts that".into())
        });
        // Why none for a delivery: the same scope is what to request, for the gateway.
        let requestable = if layer == Layer::Delivery { vec![] } else { self.requestable(ttls) };
        Decision::Deny(self.deny(layer, reason, requestable))
    }

    /// Tries again with the approvals that the guards' groups could give: only if that is allowed
    /// is the question worth a person's time.
    fn liftable(&mut self, ttl: Ttl, guards: Vec<Guard>) -> Option<(Vec<Guard>, Ttl)> {
        let mut approvals = self.standing.approvals.clone();
        approvals.extend(guards.iter().flat_map(|guard| guard.groups.iter().cloned()));
        match self.all_actions(ttl, &approvals) {
            Outcome::Allow => Some((guards, ttl)),
            Outcome::Guarded(_) | Outcome::Deny(..) => None,
        }
    }

    fn all_actions(&mut self, ttl: Ttl, approvals: &BTreeSet<GroupName>) -> Outcome {
        let mut guards: Vec<Guard> = Vec::new();
        for action in self.request.scope.actions.iter() {
            match self.judge(&self.request.scope, action, ttl, approvals) {
                Verdict::Allow(ids) => self.ids.extend(ids),
                Verdict::Forbid(found) => {
                    self.ids.extend(found.iter().map(|guard| guard.policy.clone()));
                    if let Some(fixed) = found.iter().find(|guard| guard.groups.is_empty()) {
                        return Outcome::Deny(Layer::Policy, refusal(action, fixed));
                    }
                    guards.extend(found);
                }
                Verdict::Nothing => {
                    let Scope { upstream, resource, .. } = &self.request.scope;
                    let reason = format!(
                        "no policy allows `{action}` on `{upstream}:{resource}` to this agent{} for {} s{}",
                        match self.standing.session.chain.is_empty() {
                            true => "",
                            false => " and to all that passed it on",
                        },
                        ttl.seconds(),
                        self.request
                            .scope
                            .git_ref
                            .as_ref()
                            .map_or_else(String::new, |r| format!(" with ref={r}")),
                    );
                    return Outcome::Deny(Layer::Policy, reason);
                }
                Verdict::GatewayOnly(ids) => {
                    let reason = unenforceable(action, &ids);
                    self.ids.extend(ids);
                    return Outcome::Deny(Layer::Delivery, reason);
                }
                Verdict::Error(ids) => {
                    self.ids.extend(ids);
                    let reason = format!(
                        "a policy about `{action}` could not be evaluated; tell the platform team"
                    );
                    return Outcome::Deny(Layer::Policy, reason);
                }
            }
        }
        if guards.is_empty() {
            return Outcome::Allow;
        }
        guards.sort_by(|a, b| a.policy.cmp(&b.policy));
        guards.dedup();
        Outcome::Guarded(guards)
    }

    /// What the policies say of one action: to the session's agent, and to each that passed it on, as
    /// if that had asked for it. Why: nobody gets by another what it would not get itself.
    fn judge(
        &self,
        scope: &Scope,
        action: &Action,
        ttl: Ttl,
        approvals: &BTreeSet<GroupName>,
    ) -> Verdict {
        let session = self.standing.session;
        let ask = |agent: &PrincipalId, chain: &Chain| {
            self.rules.judge(&Question {
                agent,
                person: session.person.as_ref(),
                chain,
                scope,
                action,
                ttl,
                delivery: self.request.delivery,
                deed: self.request.deed.as_ref(),
                approvals,
                now: self.standing.now,
            })
        };
        let mut together = ask(&session.agent, &session.chain);
        for (depth, link) in session.chain.links().iter().enumerate() {
            together = together.and(ask(&link.agent, &session.chain.above(depth)));
        }
        together
    }

    /// The envelope's lines on this resource that the policies would grant as they stand, and the
    /// asked actions alone that they would.
    fn requestable(&self, ttls: &[Ttl]) -> Vec<String> {
        let Some(ttl) = ttls.last().copied() else {
            return vec![];
        };
        let shortest =
            TTL_LADDER.last().and_then(|s| Ttl::from_seconds(*s)).map_or(ttl, |s| s.min(ttl));
        let allowed = |scope: &Scope| {
            scope.actions.iter().all(|action| {
                let verdict = self.judge(scope, action, shortest, self.standing.approvals);
                matches!(verdict, Verdict::Allow(_))
            })
        };
        alternatives(self.standing.session, &self.request.scope)
            .into_iter()
            .filter(|scope| scope != &self.request.scope || shortest < ttl)
            .filter(|scope| self.envelope_allows(scope) && allowed(scope))
            .map(|scope| {
                if scope == self.request.scope {
                    format!("{scope} ttl={}s", shortest.seconds())
                } else {
                    scope.to_string()
                }
            })
            .take(3)
            .collect()
    }

    fn decided_by(&self) -> DecidedBy {
        DecidedBy {
            policies: self.ids.iter().cloned().collect(),
            policy_hash: self.rules.hash().into(),
            approvals: self.standing.approved_by.to_vec(),
        }
    }

    fn deny(&self, layer: Layer, reason: String, requestable: Vec<String>) -> Denial {
        Denial { layer, reason, decided_by: self.decided_by(), requestable }
    }
}

fn refusal(action: &Action, fixed: &Guard) -> String {
    match fixed.reason.as_str() {
        "" => format!("the policy `{}` refuses `{action}`", fixed.policy),
        words => format!("the policy `{}` refuses `{action}`: {words}", fixed.policy),
    }
}

/// Why an action is allowed through the gateway only. Names the first policies.
fn unenforceable(action: &Action, ids: &[PolicyId]) -> String {
    const SHOWN: usize = 3;
    let mut named: Vec<_> = ids.iter().collect();
    named.sort();
    named.dedup();
    let shown: Vec<_> = named.iter().take(SHOWN).map(|id| format!("`{id}`")).collect();
    let more = match named.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "`{action}` is restricted by what a push or a call does ({}{more}), which only the gateway \
         enforces; direct delivery is denied, and no approval changes that: use the gateway",
        shown.join(", ")
    )
}

/// Narrower or neighbouring scopes on the same resource, likeliest first.
fn alternatives(session: &Session, asked: &Scope) -> Vec<Scope> {
    let mut found: Vec<Scope> = vec![asked.clone()];
    for bound in session.envelope.scopes() {
        if bound.upstream != asked.upstream || !bound.resource.matches(asked.resource.as_str()) {
            continue;
        }
        found.push(Scope { git_ref: bound.git_ref.clone(), ..asked.clone() });
        // Why: the common refusal is a push to `main`, and the common answer is the agents' own namespace.
        if let Ok(own) = crate::pattern::Pattern::parse("agent/*") {
            found.push(Scope { git_ref: Some(own), ..asked.clone() });
        }
        for action in asked.actions.iter() {
            let reads = Action::parse(&format!("{}:read", action.permission())).ok();
            for one in std::iter::once(action.clone()).chain(reads) {
                if let Ok(actions) = crate::scope::Actions::new([one]) {
                    found.push(Scope { actions: actions.clone(), ..asked.clone() });
                    found.push(Scope { actions, git_ref: bound.git_ref.clone(), ..asked.clone() });
                }
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    // Why without: a ref limits nothing that reads, so nobody can ask for that.
    let limits_read =
        |scope: &Scope| scope.git_ref.is_some() && scope.actions.iter().any(Action::only_reads);
    found.retain(|scope| !limits_read(scope) && seen.insert(scope.clone()));
    // Why: each costs questions to the policies, and three are told.
    found.truncate(32);
    found
}
