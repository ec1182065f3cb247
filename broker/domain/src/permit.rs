//! The proof that a request was decided and allowed.

use crate::{
    budget::Spend,
    decision::{Delivery, GrantRequest},
    delegation::Chain,
    grant::DecidedBy,
    id::SessionId,
    principal::PrincipalId,
    scope::Scope,
    session::{Session, Words},
    ttl::{Timestamp, Ttl},
};

/// Says "allowed", once. Only `decide` makes one; it can't be copied, and recording it uses it up,
/// so that one decision leads to one grant at most.
///
/// ```compile_fail
/// fn twice(permit: jeton_domain::permit::Permit) { let again = permit.clone(); }
/// ```
pub struct Permit {
    session: SessionId,
    agent: PrincipalId,
    person: Option<PrincipalId>,
    chain: Chain,
    scope: Scope,
    ttl: Ttl,
    delivery: Delivery,
    reason: Words,
    decided_by: DecidedBy,
    spends: Vec<Spend>,
    decided: Timestamp,
}

impl Permit {
    /// Why `pub(crate)`: the decision is the only maker.
    pub(crate) fn new(
        session: &Session,
        request: &GrantRequest,
        ttl: Ttl,
        decided_by: DecidedBy,
        spends: Vec<Spend>,
        now: Timestamp,
    ) -> Self {
        Self {
            session: session.id,
            agent: session.agent.clone(),
            person: session.person.clone(),
            chain: session.chain.clone(),
            scope: request.scope.clone(),
            ttl,
            delivery: request.delivery,
            reason: request.reason.clone(),
            decided_by,
            spends,
            decided: now,
        }
    }

    /// The session it was given to.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The agent of that session.
    #[must_use]
    pub fn agent(&self) -> &PrincipalId {
        &self.agent
    }

    /// The person of that session.
    #[must_use]
    pub fn person(&self) -> Option<&PrincipalId> {
        self.person.as_ref()
    }

    /// The sessions above that session.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What was allowed.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// For how long.
    #[must_use]
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }

    /// Delivered where.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// The agent's words.
    #[must_use]
    pub fn reason(&self) -> &Words {
        &self.reason
    }

    /// What decided.
    #[must_use]
    pub fn decided_by(&self) -> &DecidedBy {
        &self.decided_by
    }

    /// What it takes from budgets.
    #[must_use]
    pub fn spends(&self) -> &[Spend] {
        &self.spends
    }

    /// When.
    #[must_use]
    pub fn decided(&self) -> Timestamp {
        self.decided
    }

    /// When the grant ends if it begins at the time of the decision.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.decided.plus(self.ttl)
    }
}
