//! `jeton grant`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use jeton_client::{Ask, Client, Delivery, GrantFilter, Matching, PageOf, Revocation};
use serde_json::json;

use super::{
    Global, ask,
    ask::Held,
    by::By,
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
        /// Where a person has to approve it first, wait so long.
        #[arg(long, value_parser = span::parse, value_name = "SPAN")]
        wait: Option<Duration>,
        /// For use through the gateway: you get no credential, the gateway adds it to your calls. Without this
        /// and without a place for the secret, the broker chooses, and prefers the gateway.
        #[arg(long = "for-gateway", conflicts_with_all = ["show_secret", "secret_file"])]
        for_gateway: bool,
        #[command(flatten)]
        to: To,
    },
    /// Take the credential of a grant that waited, once a person approved it.
    Claim {
        /// The grant.
        id: String,
        /// Wait so long for it.
        #[arg(long, value_parser = span::parse, value_name = "SPAN")]
        wait: Option<Duration>,
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
        #[command(flatten)]
        upstream: Upstream,
    },
    /// Take everything away that matches.
    RevokeMatching {
        #[command(flatten)]
        which: Which,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// Grant nothing that matches from now on, until `jeton grant lift`.
        #[arg(long, conflicts_with_all = ["session", "policy"])]
        stop: bool,
        #[command(flatten)]
        upstream: Upstream,
    },
    /// Tell what is left for grants of one scope: of the envelope, and of budgets.
    Budgets {
        /// What would be asked for, such as 'github:acme/api contents:read'.
        scope: String,
        /// In another session than your own.
        #[arg(long, value_name = "ID")]
        session: Option<String>,
    },
    /// Decide live grants again with the policies that hold now: which would not be given any more?
    ReDecide {
        /// Take them back, and not only tell them.
        #[arg(long)]
        revoke: bool,
    },
    /// List what is stopped: granted to nobody until somebody lifts it.
    Stops,
    /// Lift a stop: what matches may be granted again.
    Lift {
        #[command(flatten)]
        which: Stopped,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
    },
}

/// What to wait for.
#[derive(Args)]
pub struct Upstream {
    /// How long to wait for upstreams to confirm it, at most 10s. It is revoked before.
    #[arg(long, default_value = "3s", value_parser = span::parse, value_name = "SPAN")]
    wait: Duration,
}

/// Where the secret goes.
#[derive(Args)]
#[group(multiple = false)]
pub struct To {
    /// Write the secret to standard output, and all else to standard error. Requests direct delivery.
    #[arg(long)]
    show_secret: bool,
    /// Write the secret to a file with mode 0600. A request takes no file that is there already. Requests
    /// direct delivery.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl To {
    /// Whether this process needs the secret itself.
    fn takes_secret(&self) -> bool {
        self.show_secret || self.secret_file.is_some()
    }
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

/// What to take away.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// One session and all below it: they end.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// One agent's sessions and all below them: they end.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// The sessions that act for one person: they end.
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// Grants for one resource, as upstream:resource.
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// Grants at one upstream.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Grants that one policy had a part in.
    #[arg(long, value_name = "ID")]
    policy: Option<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
}

/// What was stopped.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Stopped {
    /// One agent.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// One person.
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// One resource, as upstream:resource.
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// One upstream.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Everything.
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
        Command::Request { scope, ttl, reason, wait, for_gateway, to } => {
            let mut asked = Ask::new(ask::scope(&scope)?);
            asked.ttl = ttl;
            asked.reason = reason;
            // Why not direct without a place for the secret: the broker prefers the gateway, and may.
            asked.delivery = match (for_gateway, to.takes_secret()) {
                (true, _) => Some(Delivery::Gateway),
                (false, true) => Some(Delivery::Direct),
                (false, false) => None,
            };
            request(global, asked, wait, to).await?;
        }
        Command::Claim { id, wait, to } => claim(global, &id, wait, to).await?,
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
        Command::Revoke { id, reason, upstream: Upstream { wait } } => {
            let grant = global.connect().await?.revoke_grant(&id, &reason, wait).await?;
            output.result(&grant, || show::grant(&grant))?;
        }
        Command::RevokeMatching { which, reason, stop, upstream: Upstream { wait } } => {
            let order = Revocation { matching: matching(which)?, reason, stop, wait };
            let cut = global.connect().await?.revoke_matching(order).await?;
            output.result(&cut, || show::cut(&cut, stop))?;
        }
        Command::Budgets { scope, session } => {
            let (client, scope) = (global.connect().await?, ask::scope(&scope)?);
            let means = client.list_budgets(&session.unwrap_or_default(), &scope).await?;
            output.result(&means, || show::means(&means))?;
        }
        Command::ReDecide { revoke } => {
            let found = global.connect().await?.re_decide(revoke).await?;
            output.result(&found, || show::re_decided(&found, revoke))?;
        }
        Command::Stops => {
            let stops = global.connect().await?.list_stops().await?;
            output.result(&stops, || show::stops(&stops))?;
        }
        Command::Lift { which, reason } => {
            let Stopped { agent, person, resource, upstream, all } = which;
            let which =
                Which { session: None, agent, person, resource, upstream, policy: None, all };
            global.connect().await?.lift_stop(matching(which)?, &reason).await?;
            output.result(&json!({ "lifted": true }), || {
                "lifted; what matches may be granted again\n".to_owned()
            })?;
        }
    }
    Ok(exit::OK)
}

async fn claim(global: &Global, id: &str, wait: Option<Duration>, to: To) -> Result<(), Failure> {
    let file = to.secret_file.as_deref().map(SecretFile::reserve).transpose()?;
    let client = global.connect().await?;
    let granted = match wait {
        Some(patience) => client.await_grant(id, patience).await?,
        None => client.claim_grant(id).await?,
    };
    if granted.grant.gateway && granted.grant.state == "active" {
        return global.output().result(&granted.grant, || show::grant(&granted.grant));
    }
    let held = ask::held(granted)?;
    if let Some(file) = file {
        file.write(ask::usable(&held.issued)?)?;
        file.keep();
    }
    tell(global.output(), &held, &to)
}

async fn request(
    global: &Global,
    asked: Ask,
    wait: Option<Duration>,
    to: To,
) -> Result<(), Failure> {
    // Why first: a path that can't be written fails before anything is granted.
    let file = to.secret_file.as_deref().map(SecretFile::reserve).transpose()?;
    let client = global.connect().await?;
    let instead = format!("{} --for-gateway", By::Commands.request(&asked.scope.to_string()));
    let granted = ask::granted(&client, asked, wait).await;
    let granted = granted.map_err(|failure| failure.through_gateway(&instead))?;
    if granted.grant.gateway {
        let grant = ask::active(granted.grant)?;
        return global.output().result(&grant, || show::grant(&grant));
    }
    let held = ask::taken(&client, granted).await?;
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
        Which { policy: Some(id), .. } => Ok(Matching::Policy(id)),
        Which { all: true, .. } => Ok(Matching::All),
        // Why not `All`: what names nothing must never cut everything.
        Which { .. } => Err(Failure::Invalid("say what is meant".to_owned())),
    }
}
