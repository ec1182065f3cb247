//! Questions to the solver, one at a time, and nothing but plain answers.
//!
//! Invariant: whatever is not a clear answer stops the claim. A process that was too slow is ended,
//! and the next question gets a new one.

use std::{
    cell::RefCell,
    collections::HashMap,
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

use cedar_policy::{Policy, PolicySet, RequestEnv, Schema};
use cedar_policy_symcc::{
    Asserts, CedarSymCompiler, CompiledPolicy, CompiledPolicySet, Env, err::Error,
    never_errors_asserts, solver::LocalSolver,
};
use tokio::runtime::Runtime;

use super::Solver;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Stop {
    /// It took too long, or the solver gave up.
    Undecided(String),
    /// Something is wrong with the solver or with what it was asked.
    Failed(String),
}

/// Asks.
pub(super) struct Engine<'a> {
    solver: &'a Solver,
    schema: &'a Schema,
    running: Option<Running>,
    until: Option<Instant>,
}

/// Policies that are asked about by claim after claim, compiled once for each kind of request.
pub(super) struct Whole {
    pub policies: PolicySet,
    compiled: RefCell<HashMap<RequestEnv, Rc<CompiledPolicySet>>>,
}

impl Whole {
    pub fn new(policies: PolicySet) -> Self {
        Self { policies, compiled: RefCell::default() }
    }
}

/// A solver that waits for questions.
struct Running {
    // Why first: the process is ended while its runtime is still there.
    compiler: CedarSymCompiler<LocalSolver>,
    runtime: Runtime,
}

impl<'a> Engine<'a> {
    pub fn new(solver: &'a Solver, schema: &'a Schema) -> Self {
        Self { solver, schema, running: None, until: None }
    }

    /// Begins a claim: its patience counts from now.
    pub fn begin(&mut self) {
        self.until = Instant::now().checked_add(self.solver.patience);
    }

    /// A request that the first set allows and the second does not.
    pub fn allowed_by_first_alone(
        &mut self,
        first: &PolicySet,
        second: &Whole,
        kind: &RequestEnv,
    ) -> Result<Option<Env>, Stop> {
        let (first, second) = (self.compile(first, kind)?, self.compiled(second, kind)?);
        self.ask(async |compiler| {
            compiler.check_implies_with_counterexample_opt(&first, &second).await
        })
    }

    /// A request that both sets allow.
    pub fn allowed_by_both(
        &mut self,
        first: &PolicySet,
        second: &Whole,
        kind: &RequestEnv,
    ) -> Result<Option<Env>, Stop> {
        let (first, second) = (self.compile(first, kind)?, self.compiled(second, kind)?);
        self.ask(async |compiler| {
            compiler.check_disjoint_with_counterexample_opt(&first, &second).await
        })
    }

    /// A request that a set allows.
    pub fn allowed(&mut self, set: &PolicySet, kind: &RequestEnv) -> Result<Option<Env>, Stop> {
        let set = self.compile(set, kind)?;
        self.ask(async |compiler| compiler.check_always_denies_with_counterexample_opt(&set).await)
    }

    /// Whether a policy may fail to evaluate for a request that `within` allows.
    pub fn may_fail(
        &mut self,
        policy: &Policy,
        within: &PolicySet,
        kind: &RequestEnv,
    ) -> Result<bool, Stop> {
        let policy = CompiledPolicy::compile(policy, kind, self.schema).map_err(stop)?;
        let failing = never_errors_asserts(&policy);
        if failing.asserts().iter().any(|assert| *assert == false.into()) {
            return Ok(false);
        }
        let within = self.compile(within, kind)?;
        let allowed = cedar_policy_symcc::always_denies_asserts(&within);
        // Why both at once: a number that no request holds overflows nothing.
        let both = failing.asserts().iter().chain(allowed.asserts().iter()).cloned();
        let both: Asserts = std::sync::Arc::new(both.collect());
        self.ask(async |compiler| compiler.check_unsat_raw(both, failing.symenv()).await)
            .map(|never| !never)
    }

    fn compile(&self, set: &PolicySet, kind: &RequestEnv) -> Result<CompiledPolicySet, Stop> {
        CompiledPolicySet::compile(set, kind, self.schema).map_err(stop)
    }

    fn compiled(&self, whole: &Whole, kind: &RequestEnv) -> Result<Rc<CompiledPolicySet>, Stop> {
        if let Some(compiled) = whole.compiled.borrow().get(kind) {
            return Ok(compiled.clone());
        }
        let compiled = Rc::new(self.compile(&whole.policies, kind)?);
        whole.compiled.borrow_mut().insert(kind.clone(), compiled.clone());
        Ok(compiled)
    }

    /// Puts one question, for as long as the claim's patience lasts.
    fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut CedarSymCompiler<LocalSolver>) -> Result<T, Error>,
    ) -> Result<T, Stop> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.unwrap_or(Duration::MAX);
        let mut running = match self.running.take() {
            Some(running) => running,
            None => Running::start(self.solver)?,
        };
        let Running { compiler, runtime } = &mut running;
        let answer = runtime.block_on(within(left, question(compiler)));
        match answer {
            Some(Ok(answer)) => {
                self.running = Some(running);
                Ok(answer)
            }
            // The process goes with `running`: nobody knows what it would answer next.
            Some(Err(error)) => Err(stop(error)),
            None => Err(Stop::Undecided(format!(
                "the solver was not done after {} s; give it more by --timeout",
                self.solver.patience.as_secs_f64()
            ))),
        }
    }
}

async fn within<T>(left: Duration, answer: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(left, answer).await.ok()
}

impl Running {
    fn start(solver: &Solver) -> Result<Self, Stop> {
        let broken = |error: String| Stop::Failed(format!("the solver does not start: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| broken(error.to_string()))?;
        let mut command = tokio::process::Command::new(&solver.program);
        command.args(["--lang", "smt"]).kill_on_drop(true);
        let process = {
            let _inside = runtime.enter();
            LocalSolver::from_command(&mut command).map_err(|error| broken(error.to_string()))?
        };
        let compiler = CedarSymCompiler::new(process).map_err(|error| broken(error.to_string()))?;
        Ok(Self { compiler, runtime })
    }
}

fn stop(error: Error) -> Stop {
    if matches!(error, Error::SolverUnknown) {
        return Stop::Undecided("the solver gave up: it answered `unknown`".to_owned());
    }
    let whose = if matches!(error, Error::SolverError(_)) { "the solver failed: " } else { "" };
    Stop::Failed(format!("{whose}{}", chain(&error)))
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        words += &format!(": {cause}");
        next = cause.source();
    }
    words
}
