//! `jeton policy prove`: what holds for every request, or one for which it does not.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use jeton_policy::prove::{
    CounterExample, Proof, Properties, Solver, Verdict, no_wider, prove as prove_all,
};
use serde_json::{Value, json};

use super::{load, told};
use crate::cli::{
    exit::{self, Exit},
    failure::Failure,
    output::{Output, clean, line},
    span,
};

/// What to prove.
#[derive(Args)]
pub struct Prove {
    /// The folder.
    folder: PathBuf,
    /// What has to hold, in Cedar: a forbid for what is never allowed, a permit for what always is.
    #[arg(required_unless_present = "than", conflicts_with = "than")]
    properties: Option<PathBuf>,
    /// Prove that the folder grants nothing that this one does not.
    #[arg(long = "no-wider-than", value_name = "FOLDER")]
    than: Option<PathBuf>,
    #[command(flatten)]
    patience: Patience,
}

/// How long the solver may take.
#[derive(Args)]
pub struct Patience {
    /// How long the solver may take for one property.
    #[arg(long, default_value = "1m", value_parser = span::parse, value_name = "SPAN")]
    timeout: Duration,
}

impl Patience {
    /// Looks for the solver.
    ///
    /// # Errors
    /// When it is not there.
    pub fn solver(&self) -> Result<Solver, Failure> {
        let program = jeton_client::solver().unwrap_or_else(|| "cvc5".into());
        Solver::new(program, self.timeout).map_err(|error| {
            Failure::config(format!(
                "{error}; install cvc5 (the Debian package `cvc5`), or name it by the variable CVC5"
            ))
        })
    }
}

/// Proves.
///
/// # Errors
/// When the folder or the properties are no good, or the solver is not there.
pub fn prove(output: Output, prove: &Prove) -> Result<Exit, Failure> {
    let set = load(&prove.folder)?;
    match (&prove.properties, &prove.than) {
        (Some(file), _) => {
            let properties = Properties::load(file, &set)
                .map_err(|problems| Failure::Invalid(told(&problems).join("\n")))?;
            let proofs = prove_all(&set, &properties, &prove.patience.solver()?);
            shown(output, &proofs)
        }
        (None, Some(than)) => {
            let verdict = no_wider(&set, &load(than)?, &prove.patience.solver()?);
            let value = json!({ "verdict": word(&verdict), "details": details(&verdict) });
            let what = format!(
                "`{}` grants nothing that `{}` does not",
                prove.folder.display(),
                than.display()
            );
            output.result(&value, || text(&verdict, &clean(&what)))?;
            Ok(exit(&[&verdict]))
        }
        (None, None) => Err(Failure::Invalid("say what is to be proved".to_owned())),
    }
}

fn shown(output: Output, proofs: &[Proof]) -> Result<Exit, Failure> {
    let values: Vec<_> = proofs
        .iter()
        .map(|proof| {
            json!({
                "property": proof.id.as_str(), "reason": proof.reason, "place": proof.place,
                "verdict": word(&proof.verdict), "details": details(&proof.verdict),
            })
        })
        .collect();
    let proved = |proof: &&Proof| matches!(proof.verdict, Verdict::Proved { .. });
    let holds = proofs.iter().filter(proved).count();
    output.result(&json!({ "properties": values }), || {
        let mut all: String = proofs
            .iter()
            .map(|proof| {
                let Proof { id, reason, place, verdict } = proof;
                let place = if proved(&proof) { String::new() } else { format!(" ({place})") };
                text(verdict, &clean(&format!("{id}: {reason}{place}")))
            })
            .collect();
        all += &format!("{holds} of {} properties are proved\n", proofs.len());
        all
    })?;
    Ok(exit(&proofs.iter().map(|proof| &proof.verdict).collect::<Vec<_>>()))
}

/// How the process ends. What is wrong with the solver goes before what is wrong with the policies.
fn exit(verdicts: &[&Verdict]) -> Exit {
    let any = |is: fn(&Verdict) -> bool| verdicts.iter().any(|verdict| is(verdict));
    if any(|verdict| matches!(verdict, Verdict::Failed(_))) {
        exit::INTERNAL
    } else if any(|verdict| !matches!(verdict, Verdict::Proved { .. })) {
        exit::INVALID
    } else {
        exit::OK
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Proved { .. } => "proved",
        Verdict::Refuted(_) => "refuted",
        Verdict::Empty => "says nothing",
        Verdict::NotDecided(_) => "not decided",
        Verdict::Failed(_) => "failed",
    }
}

fn details(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Proved { kinds, unless_fails } => json!({
            "kinds": kinds,
            "unless_fails": unless_fails.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        }),
        Verdict::Refuted(example) => {
            let words: serde_json::Map<_, _> =
                example.words.iter().map(|(name, words)| ((*name).into(), json!(words))).collect();
            let ids = |ids: &[jeton_domain::decision::PolicyId]| {
                ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>()
            };
            json!({
                "words": words, "request": example.request, "entities": example.entities,
                "allowed_by": ids(&example.allowed_by), "refused_by": ids(&example.refused_by),
            })
        }
        Verdict::Empty => json!({ "words": NOTHING }),
        Verdict::NotDecided(words) | Verdict::Failed(words) => json!({ "words": words }),
    }
}

/// About a property that matches no request.
const NOTHING: &str = "no request that there can be is matched by it; correct it";

fn text(verdict: &Verdict, what: &str) -> String {
    let label = match verdict {
        Verdict::Proved { .. } => "proved",
        Verdict::Refuted(_) => "REFUTED",
        Verdict::Empty => "SAYS NOTHING",
        Verdict::NotDecided(_) => "NOT DECIDED",
        Verdict::Failed(_) => "FAILED",
    };
    let head = format!("{label} {what}\n");
    match verdict {
        Verdict::Proved { unless_fails, .. } if unless_fails.is_empty() => head,
        Verdict::Proved { unless_fails, .. } => {
            let ids: Vec<_> = unless_fails.iter().map(|id| id.as_str()).collect();
            head + &row("unless", &format!("{} fails to evaluate", ids.join(" or ")))
        }
        Verdict::Refuted(example) => head + &refutation(example),
        Verdict::Empty => head + &row("why", NOTHING),
        Verdict::NotDecided(words) | Verdict::Failed(words) => head + &row("why", words),
    }
}

fn refutation(example: &CounterExample) -> String {
    let mut text: String = example.words.iter().map(|(name, words)| row(name, words)).collect();
    let ids = |ids: &[jeton_domain::decision::PolicyId]| {
        ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ")
    };
    if !example.allowed_by.is_empty() {
        text += &row("allowed by", &ids(&example.allowed_by));
    }
    match example.refused_by.as_slice() {
        [] if example.allowed_by.is_empty() => text += &row("refused", "no policy allows it"),
        [] => {}
        refused => text += &row("refused by", &ids(refused)),
    }
    text += &format!("  request:      {}", line(&example.request));
    text += &format!("  entities:     {}", line(&example.entities));
    text
}

fn row(name: &str, words: &str) -> String {
    format!("  {:<13} {}\n", format!("{name}:"), clean(words))
}
