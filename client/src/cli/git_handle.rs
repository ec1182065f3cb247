//! `jeton git-handle`: git's credential helper for the gateway.
//!
//! Git gets the session's handle as a password, for the gateway alone. The handle opens nothing without the
//! key that it is bound to, and the credential of the upstream is never here.

use clap::Args;

use super::{
    Global,
    exit::{self, Exit},
    git_credential::{question, site},
    git_protocol::{Aim, Answer, Question, Site},
    output::{note, raw},
};
use crate::cli::failure::Failure;

/// What the helper answers for.
#[derive(Args)]
pub struct GitHandle {
    /// The gateway, as https://host:port; no other server is answered.
    #[arg(long, value_parser = site)]
    url: Site,
    /// get, store or erase, as git says it; anything else is left alone.
    operation: String,
}

/// Answers git. Never fails: what goes wrong is told on standard error.
pub fn run(global: &Global, helper: &GitHandle) -> Exit {
    let answered = match helper.operation.as_str() {
        "get" => get(global, helper),
        "store" | "erase" => question().map(|_| ()),
        _ => Ok(()),
    };
    match answered {
        Ok(()) => exit::OK,
        Err(failure) => {
            note(&failure.text());
            failure.exit()
        }
    }
}

fn get(global: &Global, helper: &GitHandle) -> Result<(), Failure> {
    let bytes = question()?;
    let question = Question::parse(&bytes)
        .map_err(|odd| Failure::Invalid(format!("git's question is not understood: {odd}")))?;
    if question.aims_at(&helper.url) == Aim::Elsewhere {
        return Ok(());
    }
    let handle = match global.settings().bare_handle() {
        Ok(handle) => handle,
        Err(error) => {
            raw(b"quit=1\n")?;
            return Err(error.into());
        }
    };
    let answer =
        Answer { username: "session", secret: handle.expose(), bearer: false, expires: None };
    match answer.text(question.authtype) {
        Some(text) => raw(zeroize::Zeroizing::new(text).as_bytes()),
        None => Err(Failure::Broken("the handle does not fit git's protocol".to_owned())),
    }
}
