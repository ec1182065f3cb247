//! `jeton policy`: what authors of policies need before anything rests on them. Works on a folder,
//! without a broker, but for `replay` and `suggest`, which read its log, and for what is about its own set.

mod asking;
mod broker_set;
mod folder;
mod online;
mod prove;
mod recorded;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Subcommand;
use jeton_client::now_millis;
use jeton_domain::{principal::PrincipalId, ttl::Timestamp};
use jeton_policy::{
    PolicyProblem, PolicySet, Vocabulary,
    author::{ask::AskError, compare},
};
use serde_json::json;

use self::{
    asking::{Explain, Who},
    prove::Patience,
};
use super::{
    Global,
    exit::{self, Exit},
    failure::Failure,
    output::clean,
    span,
};

/// What to do with policies.
#[derive(Subcommand)]
pub enum Command {
    /// Tell every problem of a folder, and what its author hardly meant.
    Check {
        /// The folder.
        folder: PathBuf,
        /// Fail for what is only odd, too.
        #[arg(long)]
        strict: bool,
        /// Have the solver cvc5 find policies that can never match, and those that others make idle.
        #[arg(long)]
        prove: bool,
        #[command(flatten)]
        patience: Patience,
    },
    /// Bring the policies of a folder into one form. Comments stay.
    Fmt {
        /// The folder.
        folder: PathBuf,
        /// Change nothing; fail if something would be.
        #[arg(long)]
        check: bool,
    },
    /// Run tables of cases: who asks for what, and what has to be answered.
    Test {
        /// The folder.
        folder: PathBuf,
        /// Tables, in TOML.
        #[arg(required = true)]
        cases: Vec<PathBuf>,
        /// Fail if a policy decides in no case.
        #[arg(long)]
        cover_all: bool,
    },
    /// Tell what is answered to one question, why, and what would be granted instead.
    Explain(Explain),
    /// Tell what an agent may do, for all that the catalogue lists.
    Can {
        /// The folder; without it, the broker is asked, by what it has in force.
        folder: Option<PathBuf>,
        #[command(flatten)]
        who: Who,
    },
    /// Tell who of the listed agents may do something.
    #[command(allow_missing_positional = true)]
    Who {
        /// The folder; without it, the broker is asked, by what it has in force.
        folder: Option<PathBuf>,
        /// What.
        scope: String,
        /// For this person.
        #[arg(long, value_name = "NAME")]
        person: Option<String>,
    },
    /// Prove what holds for every request that there can be, or show one for which it does not. Asks the
    /// solver cvc5, which is looked for on the PATH.
    Prove(prove::Prove),
    /// Tell in words what differs between two folders.
    Diff {
        /// The one that holds.
        old: PathBuf,
        /// The other.
        new: PathBuf,
    },
    /// Decide again, by a folder, what a broker's log tells was asked: each answer that would be another.
    Replay {
        /// The folder.
        folder: PathBuf,
        /// How far back.
        #[arg(long, default_value = "30d", value_parser = span::parse, value_name = "SPAN")]
        since: Duration,
    },
    /// Tell what a broker has in force, and what it had.
    Loaded,
    /// Have a broker load its folder anew at once.
    Reload,
    /// Write the files of a set that a broker had in force into a new folder.
    Fetch {
        /// The set's hash.
        hash: String,
        /// The folder, which must not be there yet.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Have a broker go back to a set that it had in force. It holds until the folder is another than now.
    Rollback {
        /// The set's hash.
        hash: String,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
    /// Tell the least that would have been enough for what a broker's log tells was granted: envelopes and
    /// policies, and which policies of a folder decided nothing.
    Suggest {
        /// The folder, for its catalogue and its policies.
        folder: PathBuf,
        /// How far back.
        #[arg(long, default_value = "30d", value_parser = span::parse, value_name = "SPAN")]
        since: Duration,
    },
}

/// Does it.
///
/// # Errors
/// When the folder is no good, a question is none, or the broker can't be asked.
pub async fn run(global: &Global, command: Command) -> Result<Exit, Failure> {
    let output = global.output();
    match command {
        Command::Check { folder, strict, prove, patience } => {
            let solver = if prove { Some(patience.solver()?) } else { None };
            folder::check(output, &folder, strict, solver.as_ref())
        }
        Command::Fmt { folder, check } => folder::fmt(output, &folder, check),
        Command::Test { folder, cases, cover_all } => {
            folder::test(output, &folder, &cases, cover_all)
        }
        Command::Explain(explain) => asking::explain(global, explain).await,
        Command::Can { folder, who } => asking::can(global, folder.as_deref(), who).await,
        Command::Who { folder, scope, person } => {
            asking::who(global, folder.as_deref(), &scope, person.as_deref()).await
        }
        Command::Prove(prove) => prove::prove(output, &prove),
        Command::Diff { old, new } => {
            let found = compare::compare(&load(&old)?, &load(&new)?);
            output.result(&json!({ "differences": found.lines }), || {
                if found.lines.is_empty() { "the same\n".to_owned() } else { lines(&found.lines) }
            })?;
            Ok(exit::OK)
        }
        Command::Replay { folder, since } => recorded::replay(global, &load(&folder)?, since).await,
        Command::Loaded => broker_set::loaded(global).await,
        Command::Reload => broker_set::reload(global).await,
        Command::Fetch { hash, out } => broker_set::fetch(global, &hash, &out).await,
        Command::Rollback { hash, reason } => broker_set::roll_back(global, &hash, &reason).await,
        Command::Suggest { folder, since } => {
            recorded::suggest(global, &load(&folder)?, since).await
        }
    }
}

fn load(folder: &Path) -> Result<PolicySet, Failure> {
    PolicySet::load(folder, &Vocabulary::default())
        .map_err(|problems| Failure::Invalid(told(&problems).join("\n")))
}

fn told(problems: &[PolicyProblem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn lines(all: &[String]) -> String {
    all.iter().map(|line| format!("{}\n", clean(line))).collect()
}

fn odd(error: AskError) -> Failure {
    Failure::Invalid(error.to_string())
}

fn name(text: &str) -> Result<PrincipalId, Failure> {
    PrincipalId::parse(text).map_err(|error| Failure::Invalid(error.to_string()))
}

fn optional(text: Option<&str>) -> Result<Option<PrincipalId>, Failure> {
    text.map(name).transpose()
}

fn now() -> Timestamp {
    Timestamp::from_millis(now_millis())
}
