//! A local git host that asks the broker at every request whether a credential is good right now.
//!
//! Used by `./deploy/demo`; the broker is found by the variables of the `jeton` command.

use std::{future::Future, io::Write, path::PathBuf, pin::Pin, sync::Arc};

use clap::Parser;
use jeton_client::{Client, Scope, Secret};
use jeton_domain::scope::Action;
use jeton_tests::git_host::{Gate, GitHost, Need, RefUpdate, Refusal};

/// The name under which this host knows itself to the broker.
const AUDIENCE: &str = "https://git.dev.jeton.local";

/// Serves bare repositories over HTTP.
#[derive(Parser)]
struct Cli {
    /// Where the repositories are.
    #[arg(long)]
    root: PathBuf,
    /// Repositories to make, as owner/name.
    #[arg(long)]
    make: Vec<String>,
    /// Where to write the URL once it serves.
    #[arg(long)]
    url_file: PathBuf,
}

#[tokio::main]
async fn main() {
    let cli = Cli::parse();
    jeton_tests::crypto();
    let broker = Client::from_env().await.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "git-host: {error}");
        std::process::exit(69)
    });
    std::fs::create_dir_all(&cli.root).unwrap();
    let host = GitHost::start(&cli.root, Arc::new(Broker(broker))).await;
    for name in &cli.make {
        host.create_repo(name);
    }
    let draft = cli.url_file.with_extension("new");
    std::fs::write(&draft, host.url()).unwrap();
    std::fs::rename(&draft, &cli.url_file).unwrap();
    std::future::pending::<()>().await;
}

/// Introspection at the broker, at every request.
struct Broker(Client);

impl Gate for Broker {
    fn check(
        &self,
        token: String,
        repo: String,
        need: Need,
        refs: Vec<RefUpdate>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let found = client
                .introspect(&Secret::new(token), AUDIENCE)
                .await
                // Why refused: a host that can't ask can't know, and unknown is never good.
                .map_err(|error| {
                    Refusal::bad_credential(&format!("the broker did not answer: {error}"))
                })?;
            if !found.active {
                return Err(Refusal::bad_credential("the credential is not good, or not any more"));
            }
            let scope = Scope::parse(&found.scope)
                .map_err(|error| Refusal::forbidden(&error.to_string()))?;
            allowed(&scope, &repo, need, &refs)
        })
    }
}

fn allowed(scope: &Scope, repo: &str, need: Need, refs: &[RefUpdate]) -> Result<(), Refusal> {
    if scope.resource.as_str() != repo.to_ascii_lowercase() {
        return Err(Refusal::forbidden(&format!(
            "the credential opens {}, not {repo}",
            scope.resource
        )));
    }
    let wanted = match need {
        Need::Read => "contents:read",
        Need::Write => "contents:write",
    };
    let covers = Action::parse(wanted)
        .is_ok_and(|wanted| scope.actions.iter().any(|action| action.covers(&wanted)));
    if !covers {
        return Err(Refusal::forbidden(&format!(
            "the credential allows {}, not {wanted}",
            scope.actions
        )));
    }
    let Some(pattern) = &scope.git_ref else { return Ok(()) };
    for update in refs {
        let branch = update.name.strip_prefix("refs/heads/").unwrap_or(&update.name);
        if !pattern.matches(branch) {
            return Err(Refusal::forbidden(&format!(
                "{} is outside the credential's scope (ref={pattern})",
                update.name
            )));
        }
    }
    Ok(())
}
