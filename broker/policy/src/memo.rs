//! Answers that were given before to the same question: a verdict is a function of the set and the
//! question, so what was answered once needs no second evaluation.
//!
//! Lives inside a prepared question, and so inside one set: a new set begins with none. A slice that
//! reads the clock is never remembered, nor is an answer that rests on somebody's approval.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use jeton_domain::{
    decision::{Delivery, Question, Verdict},
    deed::{Change, Deed},
    pattern::Pattern,
    principal::PrincipalId,
    ttl::Ttl,
};

use super::limits::REMEMBERED;

/// What of a question may differ while agent, person, resource and action stay.
#[derive(PartialEq, Eq, Hash)]
struct Variation {
    ttl: Ttl,
    delivery: Delivery,
    change: Option<Change>,
    git_ref: Option<Pattern>,
    delegators: Vec<PrincipalId>,
}

/// The answers of one prepared question.
#[derive(Default)]
pub(super) struct Memo(RwLock<HashMap<Variation, Verdict>>);

impl Memo {
    /// The answer from memory, or a new one.
    pub fn answer<E>(
        &self,
        question: &Question<'_>,
        judge: impl FnOnce() -> Result<Verdict, E>,
    ) -> Result<Verdict, E> {
        let change = match question.deed {
            None => None,
            Some(Deed::Move(change)) => Some(*change),
            // Why not: files, authors and paths are without number, and hardly any comes twice.
            Some(Deed::Commit { .. } | Deed::File { .. } | Deed::Call { .. }) => return judge(),
        };
        if !question.approvals.is_empty() {
            return judge();
        }
        let variation = Variation {
            ttl: question.ttl,
            delivery: question.delivery,
            change,
            git_ref: question.scope.git_ref.clone(),
            // Why not their sessions: policies see the agents, and sessions are without number.
            delegators: question.chain.links().iter().map(|link| link.agent.clone()).collect(),
        };
        if let Some(verdict) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&variation)
        {
            return Ok(verdict.clone());
        }
        let verdict = judge()?;
        let mut remembered = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Why simply not more: whoever varies refs and times without end must not fill the memory.
        if remembered.len() < REMEMBERED {
            remembered.insert(variation, verdict.clone());
        }
        Ok(verdict)
    }
}
