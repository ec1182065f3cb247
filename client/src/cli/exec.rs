//! `jeton exec`: runs a command with a credential.
//!
//! Invariants: the grant is given back however the command ends; the command does not learn how to
//! reach the broker as its caller unless it is told to (`--keep-session`).

pub(super) mod child;
mod fresh;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Args;
use jeton_client::{Ask, Client, ENVIRONMENT};
use tokio::process::Command;

use super::{Global, ask, ask::Held, failure::Failure, secret_file::SecretFile, shell, span};

/// A command to run.
#[derive(Args)]
pub struct Exec {
    /// What it may do, such as 'github:acme/api contents:read'.
    #[arg(long)]
    scope: String,
    /// The variable that holds the credential; it does not change while CMD runs.
    #[arg(long, value_name = "NAME", default_value = "JETON_TOKEN", value_parser = variable,
          conflicts_with_all = ["fd", "credential_file"])]
    env: String,
    /// Hand the credential over in a pipe; JETON_FD holds the number of the descriptor.
    #[arg(long, conflicts_with = "credential_file")]
    fd: bool,
    /// Keep the credential in a new file with mode 0600, renewed while CMD runs and removed at the end.
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
    /// How long the credential lives; without it, as long as is allowed.
    #[arg(long, value_parser = span::parse, value_name = "SPAN")]
    ttl: Option<Duration>,
    /// Why, in your own words.
    #[arg(long, default_value = "")]
    reason: String,
    /// Where a person has to approve it first, wait so long.
    #[arg(long, value_parser = span::parse, value_name = "SPAN")]
    wait: Option<Duration>,
    /// Leave the JETON_ variables in CMD's environment, so that it can ask for more.
    #[arg(long)]
    keep_session: bool,
    /// The command.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// How the command gets the credential.
enum Way {
    Variable,
    Pipe(child::Pipe),
    File(SecretFile),
}

/// Runs it and gives its exit code.
///
/// # Errors
/// When there is no credential, or the command can't be started.
pub async fn run(global: &Global, exec: Exec) -> Result<u8, Failure> {
    let mut asked = Ask::new(ask::scope(&exec.scope)?);
    asked.ttl = exec.ttl;
    asked.reason = exec.reason.clone();
    let way = match &exec.credential_file {
        Some(path) => Way::File(SecretFile::reserve(path)?),
        None if exec.fd => Way::Pipe(child::Pipe::open()?),
        None => Way::Variable,
    };
    // Why before the grant: a signal from here on waits until the grant can be given back.
    let mut signals = child::Signals::listen()?;
    let client = tokio::select! {
        client = global.connect() => client?,
        signal = signals.next() => return Ok(signal.exit_code()),
    };
    let words = exec.command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>();
    let words = shell::join(words.iter().map(AsRef::as_ref));
    let instead = format!("jeton proxy -- {words}");
    let mut asking = Box::pin(ask::direct(&client, asked, exec.wait, &instead));
    let held = tokio::select! {
        held = &mut asking => held?,
        signal = signals.next() => {
            // Why not at once: the broker may have granted already, and only the answer says what to
            // give back. A second signal does not wait.
            tokio::select! {
                held = asking => if let Ok(held) = held {
                    ask::release(&client, &held.grant.id).await;
                },
                _ = signals.next() => {}
            }
            return Ok(signal.exit_code());
        }
    };
    let ended = with_credential(&client, &exec, &held, way, signals).await;
    ask::release(&client, &held.grant.id).await;
    ended
}

async fn with_credential(
    client: &Client,
    exec: &Exec,
    held: &Held,
    way: Way,
    signals: child::Signals,
) -> Result<u8, Failure> {
    let secret = ask::usable(&held.issued)?;
    let (program, arguments) = exec
        .command
        .split_first()
        .ok_or_else(|| Failure::Invalid("say which command to run".to_owned()))?;
    let mut command = Command::new(program);
    command.args(arguments);
    if !exec.keep_session {
        for name in ENVIRONMENT {
            command.env_remove(name);
        }
    }
    match way {
        Way::File(file) => {
            file.write(secret)?;
            let child = child::start(&mut command, program)?;
            let fresh = fresh::keep(client, held, exec.ttl, &file);
            child::wait(child, signals, fresh).await
        }
        Way::Pipe(pipe) => {
            let child = pipe.start(secret, &mut command, program)?;
            child::wait(child, signals, std::future::ready(())).await
        }
        Way::Variable => {
            command.env(&exec.env, secret);
            let child = child::start(&mut command, program)?;
            child::wait(child, signals, std::future::ready(())).await
        }
    }
}

fn variable(name: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.bytes().all(good) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit()) {
        return Ok(name.to_owned());
    }
    Err("a variable's name has letters, digits and `_`, and starts with no digit".to_owned())
}
