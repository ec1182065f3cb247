//! Proofs: what a set answers to every request that there can be, found out by a solver.
//!
//! For the command alone. Cedar's symbolic compiler puts the policies to an SMT solver, cvc5, which
//! runs as a process of its own. A proof speaks about every agent, resource and context that the
//! schema has room for, within what the broker itself keeps to (see [`world`]) and what the catalogue
//! says of those that are named. A request that the solver finds is believed only after Cedar's
//! ordinary evaluator gave the same answer.

mod case;
mod claim;
mod delivery;
mod engine;
pub mod lint;
mod plain;
mod properties;
#[cfg(test)]
mod tests;
mod words;
mod world;
#[cfg(test)]
mod world_tests;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use cedar_policy::Effect;
use jeton_domain::decision::PolicyId;
use serde_json::Value;

use crate::{PolicySet, author::compare, limits::LOADING_STACK};

use self::{
    claim::{Claim, Parts},
    engine::Engine,
};

pub use self::properties::{Properties, Property};

/// The program that is asked.
#[derive(Debug, Clone)]
pub struct Solver {
    program: PathBuf,
    patience: Duration,
}

/// The program is not there.
#[derive(Debug, thiserror::Error)]
#[error("the solver `{}` can't be started: {why}", program.display())]
pub struct NoSolver {
    program: PathBuf,
    why: std::io::Error,
}

/// What came of one claim.
#[derive(Debug)]
pub enum Verdict {
    /// It holds for every request.
    Proved {
        /// Kinds of requests that it was proved for, such as a write by an agent.
        kinds: usize,
        /// Policies that may fail to evaluate: where one does, nothing is granted.
        unless_fails: Vec<PolicyId>,
    },
    /// It does not.
    Refuted(Box<CounterExample>),
    /// It is about no request that there can be, so that it says nothing.
    Empty,
    /// The solver did not find out, or there is more to it than policies.
    NotDecided(String),
    /// The solver or what it said is wrong. Neither a proof nor a refutation.
    Failed(String),
}

/// A request for which a claim does not hold, as the evaluator confirmed.
#[derive(Debug)]
pub struct CounterExample {
    /// In words: what of it, and how it is.
    pub words: Vec<(&'static str, String)>,
    /// The request in Cedar's JSON form.
    pub request: Value,
    /// The entities that go with it.
    pub entities: Value,
    /// What allows it.
    pub allowed_by: Vec<PolicyId>,
    /// What refuses it. None, where nothing allows it.
    pub refused_by: Vec<PolicyId>,
}

/// A property and what came of it.
#[derive(Debug)]
pub struct Proof {
    /// Its `@id`.
    pub id: PolicyId,
    /// Its `@reason`.
    pub reason: String,
    /// Where it stands, as `file:line`.
    pub place: String,
    /// What came of it.
    pub verdict: Verdict,
}

impl Solver {
    /// Looks whether the program is there. `patience` is how long it may take for one claim.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn new(program: PathBuf, patience: Duration) -> Result<Self, NoSolver> {
        let run = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match run {
            Ok(status) if status.success() => Ok(Self { program, patience }),
            Ok(status) => {
                let why = std::io::Error::other(format!("`--version` ended with {status}"));
                Err(NoSolver { program, why })
            }
            Err(why) => Err(NoSolver { program, why }),
        }
    }
}

/// Tries to prove each property.
#[must_use]
pub fn prove(set: &PolicySet, properties: &Properties, solver: &Solver) -> Vec<Proof> {
    let all: Vec<_> = properties.iter().collect();
    let verdicts = at_work(|| {
        let policies: Vec<_> = all.iter().map(|property| &property.policy).collect();
        let parts = Parts::of(set, &policies)?;
        let mut engine = Engine::new(solver, &parts.schema);
        let judge = |property: &&Property| {
            let claim = match property.policy.effect() {
                Effect::Forbid => Claim::never(&parts, &property.policy),
                Effect::Permit => Claim::always(&parts, &property.policy),
            };
            claim.map_or_else(Verdict::Failed, |claim| claim.verdict(&mut engine))
        };
        Ok(all.iter().map(judge).collect::<Vec<_>>())
    });
    let verdicts =
        verdicts.unwrap_or_else(|why| all.iter().map(|_| Verdict::Failed(why.clone())).collect());
    let told = |(property, verdict): (&Property, Verdict)| Proof {
        id: property.id.clone(),
        reason: property.reason.clone(),
        place: property.place.clone(),
        verdict,
    };
    all.into_iter().zip(verdicts).map(told).collect()
}

/// Tries to prove that a set allows nothing that another does not.
///
/// Why the facts count, too: a proof compares policies about the same agents and resources. Where the
/// catalogue differs, the same policies may give more.
#[must_use]
pub fn no_wider(set: &PolicySet, than: &PolicySet, solver: &Solver) -> Verdict {
    let verdict = at_work(|| {
        let parts = Parts::of_two(set, than)?;
        let mut engine = Engine::new(solver, &parts.schema);
        Ok(Claim::no_wider(&parts)?.verdict(&mut engine))
    });
    let facts = compare::facts_that_differ(than, set);
    match verdict.unwrap_or_else(Verdict::Failed) {
        Verdict::Proved { .. } if !facts.is_empty() => Verdict::NotDecided(format!(
            "the policies grant nothing new about the same facts, but the facts differ: {}",
            facts.join("; ")
        )),
        verdict @ (Verdict::Proved { .. }
        | Verdict::Refuted(_)
        | Verdict::Empty
        | Verdict::NotDecided(_)
        | Verdict::Failed(_)) => verdict,
    }
}

/// Works on a thread of its own, whose stack holds whatever the limits let through.
fn at_work<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(LOADING_STACK);
        let thread = thread
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread to prove anything: {error}"))?;
        thread.join().map_err(|_| "the policies could not be put to the solver".to_owned())?
    })
}
