//! Budgets: how many grants, how often, and how many at once, for each session, agent or resource.
//!
//! `decide` says which budgets a grant spends from; the store counts it in the commit that records the
//! grant, and refuses the one that would be too many. So no race spends a budget twice.

mod calls;
mod tally;

use std::{collections::BTreeSet, fmt, sync::Arc};

use crate::{
    decision::GrantRequest,
    pattern::{NamePattern, Pattern},
    scope::{Action, Upstream},
    secret::sha256,
    session::Session,
};

pub use calls::Calls;
pub use tally::{Spent, Tally};

/// Whose grants are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// Those of a session and of all below it.
    Session,
    /// Those of an agent, also where it passed on what it has.
    Agent,
    /// Those for a resource, whoever holds them.
    Resource,
}

impl Per {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Agent => "agent",
            Self::Resource => "resource",
        }
    }
}

/// So many grants, or calls, within so many seconds, whenever these begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Grants, or calls.
    pub grants: u32,
    /// Seconds.
    pub seconds: u32,
}

/// A budget, as the catalogue gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Its name.
    pub name: String,
    /// Whose grants are counted together.
    pub per: Per,
    /// Only at this upstream.
    pub upstream: Option<Upstream>,
    /// Only for resources that match.
    pub resource: Option<Pattern>,
    /// Only of agents that match.
    pub agent: Option<NamePattern>,
    /// Only grants that hold at least one of these; all if there are none.
    pub actions: BTreeSet<Action>,
    /// How many may be live at once.
    pub at_once: Option<u32>,
    /// How many may begin in a time.
    pub rate: Option<Rate>,
    /// How many calls may be made in a time with such grants, through the gateway.
    pub calls: Option<Rate>,
}

/// What a budget counts under: its name and whose grants they are, hashed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BudgetKey(pub [u8; 16]);

/// One grant's share of one budget.
#[derive(Debug, Clone)]
pub struct Spend {
    /// The budget.
    pub budget: Arc<Budget>,
    /// Whose.
    pub whom: String,
    /// Where it is counted.
    pub key: BudgetKey,
}

/// How much of a budget is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Live grants.
    pub at_once: u32,
    /// Grants that began in the time of the rate.
    pub begun: u32,
    /// Seconds until the first of them counts no more.
    pub wait: u32,
}

impl Spend {
    /// Sees whether there is room for one more grant.
    ///
    /// # Errors
    /// When there is none.
    pub fn room(&self, used: Used) -> Result<(), OverBudget> {
        let (budget, per, whom) = (&self.budget.name, self.budget.per, &self.whom);
        if let Some(most) = self.budget.at_once.filter(|most| used.at_once >= *most) {
            let (budget, whom) = (budget.clone(), whom.clone());
            return Err(OverBudget::AtOnce { budget, per, whom, most });
        }
        if let Some(rate) = self.budget.rate.filter(|rate| used.begun >= rate.grants) {
            let wait = if used.wait == 0 { rate.seconds } else { used.wait };
            let (budget, whom) = (budget.clone(), whom.clone());
            return Err(OverBudget::Rate { budget, per, whom, rate, wait });
        }
        Ok(())
    }
}

impl fmt::Debug for BudgetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::secret::hex(&self.0))
    }
}

/// A grant that would be one too many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverBudget {
    /// As many are live as may be at once.
    #[error(
        "the budget `{budget}` allows {most} live grants at once for the {} `{whom}`, and they are all live; release one, or wait until one ends", .per.word()
    )]
    AtOnce {
        /// The budget's name.
        budget: String,
        /// Whose grants it counts together.
        per: Per,
        /// Whose.
        whom: String,
        /// How many.
        most: u32,
    },
    /// As many began as may in the time.
    #[error(
        "the budget `{budget}` allows {} grants in {} s for the {} `{whom}`, and they are spent; the next one may begin in {wait} s", .rate.grants, .rate.seconds, .per.word()
    )]
    Rate {
        /// The budget's name.
        budget: String,
        /// Whose grants it counts together.
        per: Per,
        /// Whose.
        whom: String,
        /// What it allows.
        rate: Rate,
        /// Seconds until one more may begin.
        wait: u32,
    },
    /// As many calls were made as may be in the time.
    #[error(
        "the budget `{budget}` allows {} calls in {} s for the {} `{whom}`, and they are spent; the next one may be made in {wait} s", .rate.grants, .rate.seconds, .per.word()
    )]
    Calls {
        /// The budget's name.
        budget: String,
        /// Whose calls it counts together.
        per: Per,
        /// Whose.
        whom: String,
        /// What it allows.
        rate: Rate,
        /// Seconds until one more may be made.
        wait: u32,
    },
}

impl Budget {
    /// Tells whether it counts a grant, leaving out whose.
    #[must_use]
    fn counts(&self, request: &GrantRequest) -> bool {
        let scope = &request.scope;
        self.upstream.as_ref().is_none_or(|upstream| *upstream == scope.upstream)
            && self.resource.as_ref().is_none_or(|one| one.matches(scope.resource.as_str()))
            // Why one is enough: asking for more beside it is no way around a budget.
            && (self.actions.is_empty()
                || scope.actions.iter().any(|action| self.actions.contains(action)))
    }

    /// Whose counts a grant of a session goes into. Why also those above: nobody gets more by passing
    /// on what it has.
    fn holders(&self, session: &Session, request: &GrantRequest) -> BTreeSet<String> {
        let links = session.chain.links().iter();
        let meant = |agent: &str| self.agent.as_ref().is_none_or(|one| one.matches(agent));
        let agents = links.clone().map(|link| link.agent.as_str());
        let mut agents = agents.chain([session.agent.as_str()]).filter(|agent| meant(agent));
        match self.per {
            Per::Agent => agents.map(str::to_owned).collect(),
            Per::Session if agents.next().is_some() => links
                .map(|link| link.session)
                .chain([session.id])
                .map(|id| id.to_string())
                .collect(),
            Per::Resource if agents.next().is_some() => {
                [format!("{}:{}", request.scope.upstream, request.scope.resource)].into()
            }
            Per::Session | Per::Resource => BTreeSet::new(),
        }
    }

    fn key(&self, whom: &str) -> BudgetKey {
        let hash = sha256(format!("{}\n{}\n{whom}", self.name, self.per.word()).as_bytes());
        let mut key = [0; 16];
        key.iter_mut().zip(hash).for_each(|(place, byte)| *place = byte);
        BudgetKey(key)
    }
}

/// What a grant of a session spends.
#[must_use]
pub fn spends(budgets: &[Arc<Budget>], session: &Session, request: &GrantRequest) -> Vec<Spend> {
    let bounds = |budget: &Budget| budget.at_once.is_some() || budget.rate.is_some();
    spent(budgets, session, request, bounds)
}

/// All that a grant of a session and calls with it spend.
#[must_use]
pub fn all_spends(
    budgets: &[Arc<Budget>],
    session: &Session,
    request: &GrantRequest,
) -> Vec<Spend> {
    spent(budgets, session, request, |_| true)
}

/// What one call through the gateway spends.
#[must_use]
pub fn spends_of_call(
    budgets: &[Arc<Budget>],
    session: &Session,
    request: &GrantRequest,
) -> Vec<Spend> {
    spent(budgets, session, request, |budget| budget.calls.is_some())
}

fn spent(
    budgets: &[Arc<Budget>],
    session: &Session,
    request: &GrantRequest,
    bounds: impl Fn(&Budget) -> bool,
) -> Vec<Spend> {
    let counting = budgets.iter().filter(|budget| bounds(budget) && budget.counts(request));
    let of = |budget: &Arc<Budget>| {
        let spend = |whom: String| {
            let key = budget.key(&whom);
            Spend { budget: Arc::clone(budget), whom, key }
        };
        budget.holders(session, request).into_iter().map(spend).collect::<Vec<_>>()
    };
    counting.flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decision::Delivery,
        delegation::{Chain, Link},
        id::{Row, SessionId, Tag},
        principal::PrincipalId,
        scope::{Scope, ScopeBound},
        session::{Binding, Envelope, Words},
        ttl::Timestamp,
    };

    fn id(row: u64) -> SessionId {
        SessionId::new(Row::new(row).unwrap(), Tag([1; 10]))
    }

    fn session(agent: &str, above: &[(u64, &str)]) -> Session {
        let name = |text: &str| PrincipalId::parse(text).unwrap();
        let links: Vec<_> = above
            .iter()
            .map(|(row, agent)| Link { session: id(*row), agent: name(agent) })
            .collect();
        let all = ScopeBound::parse("git:** contents:write").unwrap();
        Session {
            id: id(9),
            agent: name(agent),
            person: None,
            opener: name("ana"),
            task: Words::default(),
            envelope: Envelope::new(vec![all], 10, 60).unwrap(),
            binding: Binding::Bearer,
            handle_hash: [0; 32],
            opened: Timestamp::from_seconds(0),
            deadline: Timestamp::from_seconds(1000),
            chain: Chain::try_from(links).unwrap(),
            issuers: vec![],
        }
    }

    fn asks(scope: &str) -> GrantRequest {
        GrantRequest {
            scope: Scope::parse(scope).unwrap(),
            ttl: None,
            delivery: Delivery::Direct,
            deed: None,
            reason: Words::default(),
        }
    }

    fn budget(per: Per) -> Budget {
        Budget {
            name: "b".into(),
            per,
            upstream: None,
            resource: None,
            agent: None,
            actions: BTreeSet::new(),
            at_once: Some(1),
            rate: None,
            calls: None,
        }
    }

    fn whom(budget: Budget, session: &Session, scope: &str) -> Vec<String> {
        let spends = spends(&[Arc::new(budget)], session, &asks(scope));
        spends.into_iter().map(|spend| spend.whom).collect()
    }

    #[test]
    fn a_grant_is_counted_for_its_holder_and_for_all_that_passed_it_on() {
        let below = session("sub", &[(1, "lead"), (2, "mid")]);
        assert_eq!(
            whom(budget(Per::Agent), &below, "git:a/b contents:read"),
            ["lead", "mid", "sub"]
        );
        let sessions = whom(budget(Per::Session), &below, "git:a/b contents:read");
        assert_eq!(sessions, [id(1).to_string(), id(2).to_string(), id(9).to_string()]);
        assert_eq!(whom(budget(Per::Resource), &below, "git:a/b contents:read"), ["git:a/b"]);
    }

    #[test]
    fn a_budget_counts_what_it_names_and_asking_for_more_is_no_way_around_it() {
        let own = session("bot", &[]);
        let only = |change: fn(&mut Budget)| {
            let mut budget = budget(Per::Agent);
            change(&mut budget);
            budget
        };
        let writes = || only(|b| b.actions = [Action::parse("contents:write").unwrap()].into());
        assert_eq!(whom(writes(), &own, "git:a/b contents:read"), [""; 0]);
        assert_eq!(whom(writes(), &own, "git:a/b contents:read,contents:write"), ["bot"]);
        let at = || only(|b| b.upstream = Some(Upstream::parse("git").unwrap()));
        assert_eq!(whom(at(), &own, "npm:a/b contents:read"), [""; 0]);
        assert_eq!(whom(at(), &own, "git:a/b contents:read"), ["bot"]);
        let named = || only(|b| b.resource = Some(Pattern::parse("a/*").unwrap()));
        assert_eq!(whom(named(), &own, "git:b/a contents:read"), [""; 0]);
        assert_eq!(whom(named(), &own, "git:a/c contents:read"), ["bot"]);
        let others = || only(|b| b.agent = Some(NamePattern::parse("lead").unwrap()));
        assert_eq!(whom(others(), &own, "git:a/b contents:read"), [""; 0]);
        let passed_on = session("bot", &[(1, "lead")]);
        assert_eq!(whom(others(), &passed_on, "git:a/b contents:read"), ["lead"]);
        let sessions = Budget { per: Per::Session, ..others() };
        assert_eq!(whom(sessions.clone(), &own, "git:a/b contents:read"), [""; 0]);
        assert_eq!(whom(sessions, &passed_on, "git:a/b contents:read").len(), 2);
    }

    #[test]
    fn budgets_of_other_names_and_other_holders_have_other_counts() {
        let keys = |budget: Budget| {
            spends(&[Arc::new(budget)], &session("bot", &[(1, "lead")]), &asks("git:a/b x:read"))
                .into_iter()
                .map(|spend| spend.key)
                .collect::<Vec<_>>()
        };
        let mut all = keys(budget(Per::Agent));
        all.extend(keys(budget(Per::Session)));
        all.extend(keys(budget(Per::Resource)));
        all.extend(keys(Budget { name: "c".into(), ..budget(Per::Agent) }));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!((all.len(), count), (7, 7));
    }
}
