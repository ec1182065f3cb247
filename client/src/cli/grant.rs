//! `jeton grant`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use jeton_client::{Ask, Client, GrantFilter, Matching, PageOf};

use super::{
    Global, ask,
    ask::Held,
    exit::{self, Exit},
    failure::Failure,
    output::{Output, clean},
    secret_file::SecretFile,
    show::{self, GrantJson},
    span,
};

/// What to do with grants.
#[derive(Subcommand)]
pub enum Command {
    /// Ask for a grant.
    Request {
        /// What it is to open, such as 'github:acme/api contents:read'.
        scope: String,
        /// How long; without it, as long as is allowed.
        #[arg(long, value_parser = span::parse, value_name = "SPAN")]
        ttl: Option<Duration>,
        /// Why, in your own words.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        to: To,
    },
    /// List grants, newest first.
    List(List),
    /// Tell one grant.
    Show {
        /// The grant.
        id: String,
    },
    /// Renew a grant: a fresh credential for the same scope.
    Renew {
        /// The grant.
        id: String,
        /// How long; without it, as long as is allowed.
        #[arg(long, value_parser = span::parse, value_name = "SPAN")]
        ttl: Option<Duration>,
        #[command(flatten)]
        to: To,
    },
    /// Give a grant of your own session back.
    Release {
        /// The grant.
        id: String,
    },
    /// Take a grant away.
    Revoke {
        /// The grant.
        id: String,
        /// Why, for the record.
        #[arg(long, default_value = "revoked with jeton")]
        reason: String,
    },
    /// Take every grant away that matches.
    RevokeMatching {
        #[command(flatten)]
        which: Which,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
}

/// Where the secret goes.
#[derive(Args)]
#[group(multiple = false)]
pub struct To {
    /// Write the secret to standard output, and all else to standard error.
    #[arg(long)]
    show_secret: bool,
    /// Write the secret to a file with mode 0600. A request takes no file that is there already.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// Which grants to list.
#[derive(Args)]
pub struct List {
    /// Of one session.
    #[arg(long)]
    session: Option<String>,
    /// Of one agent.
    #[arg(long)]
    agent: Option<String>,
    /// In one state, such as active.
    #[arg(long)]
    state: Option<String>,
    /// Rows.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Where the list before ended.
    #[arg(long, value_name = "TOKEN")]
    after: Option<String>,
}

/// Which grants to take away.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Those of one session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Those of one agent.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Those of sessions that act for one person.
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// Those for one resource, as upstream:resource.
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// Those at one upstream.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// All of them.
    #[arg(long)]
    all: bool,
}

/// Does it.
///
/// # Errors
/// When the broker refuses or can't be reached, or the grant waits for a person.
pub async fn run(global: &Global, command: Command) -> Result<Exit, Failure> {
    let output = global.output();
    match command {
        Command::Request { scope, ttl, reason, to } => {
            let mut asked = Ask::new(ask::scope(&scope)?);
            asked.ttl = ttl;
            asked.reason = reason;
            request(global, asked, to).await?;
        }
        Command::Renew { id, ttl, to } => {
            let client = global.connect().await?;
            let held = ask::held(client.renew_grant(&id, ttl).await?)?;
            if let Some(file) = &to.secret_file {
                SecretFile::standing(file).write(ask::usable(&held.issued)?)?;
            }
            tell(output, &held, &to)?;
        }
        Command::List(List { session, agent, state, limit, after }) => {
            let client = global.connect().await?;
            let filter = GrantFilter { session, agent, state };
            let page = client.list_grants(filter, PageOf { size: limit, token: after }).await?;
            output.result(&page, || show::grants(&page))?;
        }
        Command::Show { id } => {
            let grant = global.connect().await?.get_grant(&id).await?;
            output.result(&grant, || show::grant(&grant))?;
        }
        Command::Release { id } => {
            let grant = global.connect().await?.release_grant(&id).await?;
            output.result(&grant, || show::grant(&grant))?;
        }
        Command::Revoke { id, reason } => {
            let grant = global.connect().await?.revoke_grant(&id, &reason).await?;
            output.result(&grant, || show::grant(&grant))?;
        }
        Command::RevokeMatching { which, reason } => {
            let client = global.connect().await?;
            let cut = client.revoke_matching(matching(which)?, &reason).await?;
            output.result(&cut, || {
                let pending = cut.upstream_pending;
                format!(
                    "{} grants revoked; the upstream has yet to confirm {pending}\n",
                    cut.revoked
                )
            })?;
        }
    }
    Ok(exit::OK)
}

async fn request(global: &Global, asked: Ask, to: To) -> Result<(), Failure> {
    // Why first: a path that can't be written fails before anything is granted.
    let file = to.secret_file.as_deref().map(SecretFile::reserve).transpose()?;
    let client = global.connect().await?;
    let held = ask::grant(&client, asked).await?;
    if let Some(file) = file {
        if let Err(failure) = ask::usable(&held.issued).and_then(|secret| file.write(secret)) {
            return given_back(&client, &held, failure).await;
        }
        file.keep();
    }
    tell(global.output(), &held, &to)
}

/// Gives a grant back whose credential reached nobody.
async fn given_back(client: &Client, held: &Held, failure: Failure) -> Result<(), Failure> {
    ask::release(client, &held.grant.id).await;
    Err(failure)
}

fn tell(output: Output, held: &Held, to: &To) -> Result<(), Failure> {
    let Held { grant, issued } = held;
    if to.show_secret {
        let secret = ask::usable(issued)?;
        let value = GrantJson::new(grant, issued, Some(secret));
        return output.secret(&value, || show::grant(grant), secret);
    }
    output.result(&GrantJson::new(grant, issued, None), || {
        let after = match &to.secret_file {
            Some(file) => format!("The credential is in {}\n", clean(&file.display().to_string())),
            None => show::hint(grant),
        };
        format!("{}\n{after}", show::grant(grant))
    })
}

fn matching(which: Which) -> Result<Matching, Failure> {
    match which {
        Which { session: Some(id), .. } => Ok(Matching::Session(id)),
        Which { agent: Some(name), .. } => Ok(Matching::Agent(name)),
        Which { person: Some(name), .. } => Ok(Matching::Person(name)),
        Which { resource: Some(name), .. } => Ok(Matching::Resource(name)),
        Which { upstream: Some(name), .. } => Ok(Matching::Upstream(name)),
        Which { all: true, .. } => Ok(Matching::All),
        // Why not `All`: what names nothing must never cut everything.
        Which { .. } => Err(Failure::Invalid("say which grants to revoke".to_owned())),
    }
}
