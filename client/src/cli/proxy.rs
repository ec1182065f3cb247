//! `jeton proxy`: runs a command whose calls go through the gateway, so that it needs no secret at all.
//!
//! A server on a loopback port sends each request on with the session's identity. Only processes of the user
//! who started it are answered, and only under its own name or that of an upstream, so that no page in a
//! browser reaches it.

mod alone;
mod child_env;
mod door;
mod limits;
mod owner;
mod pass;
mod places;
mod proxied;
mod run_ca;
mod trust;

use std::{
    ffi::OsString,
    fs::Permissions,
    io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    sync::Arc,
};

use clap::Args;
use jeton_client::{ENVIRONMENT, UpstreamAddress, inherited};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tempfile::TempDir;
use tokio::{net::TcpListener, process::Command};

pub use self::alone::inside::Inside;
use self::{
    alone::{Meeting, Met},
    child_env::{Api, Git},
    door::{Door, StandIn},
    owner::Table,
    places::Places,
    run_ca::RunCa,
};
use super::{
    Global,
    exec::child,
    failure::Failure,
    output::{clean, note},
};

/// A command to run.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Proxy {
    /// Send git's calls to URL through the gateway, as repositories of UPSTREAM; may stand more than once.
    /// Repositories of the upstreams not named so go there by the address that the gateway knows.
    #[arg(long, value_name = "UPSTREAM=URL", value_parser = child_env::git)]
    git: Vec<Git>,
    /// Put the address of UPSTREAM's API into the variable VARIABLE; may stand more than once.
    #[arg(long, value_name = "UPSTREAM=VARIABLE", value_parser = child_env::api)]
    api: Vec<Api>,
    /// Stand for no upstream's own address: no HTTPS_PROXY, no CA, and no git but that of --git.
    #[arg(long)]
    no_intercept: bool,
    /// Run CMD in a network of its own, from which nothing but the gateway is reached (Linux). It still is
    /// you, with your files and the sockets that are files.
    #[arg(long)]
    alone: bool,
    /// The command.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "Examples:
  jeton proxy -- git clone https://github.com/acme/api.git
  jeton proxy -- ./agent
  jeton proxy -- env GH_TOKEN=x gh pr list --repo acme/api
  jeton proxy --alone -- ./agent
  jeton proxy --no-intercept --api github=GITHUB_API_URL -- ./agent";

/// Runs it and gives its exit code.
///
/// # Errors
/// When the gateway is not named or can't be asked, or the command can't be started as it should be.
pub async fn run(global: &Global, proxy: Proxy) -> Result<u8, Failure> {
    // Why: CMD is the same user, and could read the session in this process's memory.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let gateway = global.settings().gateway()?;
    let upstreams = match proxy.no_intercept {
        true => Vec::new(),
        false => gateway.upstreams().await?,
    };
    let places = Places::of(&upstreams);
    for (one, other) in places.hidden() {
        let (one, other) = (clean(one.as_str()), clean(other.as_str()));
        note(&format!(
            "jeton: `{one}` and `{other}` have one address; its calls go to `{other}`\n"
        ));
    }
    let signals = child::Signals::listen()?;
    let folder = fresh_folder()?;
    let way = Way::open(&proxy, &folder).await?;
    let (program, _) = proxy
        .command
        .split_first()
        .ok_or_else(|| Failure::Invalid("say which command to run".to_owned()))?;
    let (own, mut command) = match &way {
        Way::Here(listener) => {
            (listener.local_addr().map_err(no_port)?, plain(&proxy.command, program))
        }
        Way::Alone(meeting) => (alone::OWN, meeting.command(global.json, &proxy.command)),
    };
    for name in ENVIRONMENT {
        command.env_remove(name);
    }
    let gits = gits(&proxy, &upstreams);
    child_env::set(&mut command, own, &gits, &proxy.api);
    let stand_in = stand_in(&mut command, own, places, &folder)?;
    let mut child = child::start(&mut command, program)?;
    let met = match way {
        Way::Here(listener) => Some(Met { listener, table: Table::own().map_err(no_table)? }),
        Way::Alone(meeting) => meeting.wait(&mut child).await?,
    };
    let serving = met.map(|Met { listener, table }| {
        let door = Door { gateway, own, table, stand_in };
        tokio::spawn(door::serve(listener, Arc::new(door)))
    });
    let ended = child::wait(child, signals, std::future::ready(())).await;
    serving.iter().for_each(tokio::task::JoinHandle::abort);
    ended
}

/// How the command reaches the local server.
enum Way {
    Here(TcpListener),
    Alone(Meeting),
}

impl Way {
    async fn open(proxy: &Proxy, folder: &TempDir) -> Result<Self, Failure> {
        if proxy.alone {
            return Ok(Self::Alone(Meeting::open(folder.path())?));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        listener.map(Self::Here).map_err(no_port)
    }
}

fn plain(command: &[OsString], program: &OsString) -> Command {
    let mut plain = Command::new(program);
    plain.args(command.iter().skip(1));
    plain
}

/// Lets something stand for the upstreams' own addresses, if there are any.
fn stand_in(
    command: &mut Command,
    own: SocketAddr,
    places: Places,
    folder: &TempDir,
) -> Result<Option<StandIn>, Failure> {
    if places.is_empty() {
        return Ok(None);
    }
    let ca = RunCa::new(places.hosts())?;
    let before = inherited("NO_PROXY").or_else(|| inherited("no_proxy"));
    command.envs(proxied::variables(own, &places, before.as_deref()));
    command.envs(trust::put(folder.path(), ca.pem())?);
    Ok(Some(StandIn { places, ca }))
}

/// What was asked for, and the repositories of all other upstreams. Why git does not go by the proxy: what a
/// user's own configuration of git says of proxies, certificates and passwords goes before the environment.
fn gits(proxy: &Proxy, upstreams: &[UpstreamAddress]) -> Vec<Git> {
    let named = |upstream: &UpstreamAddress| proxy.git.iter().any(|git| git.is_of(&upstream.name));
    let others = upstreams.iter().filter(|upstream| !named(upstream));
    let others = others.flat_map(child_env::gits_of);
    proxy.git.iter().cloned().chain(others).collect()
}

/// A folder that is this user's alone, and goes away with the run.
fn fresh_folder() -> Result<TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("jeton-proxy-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|error| Failure::Broken(format!("there is no temporary folder: {error}")))
}

fn no_port(error: io::Error) -> Failure {
    Failure::Broken(format!("no port is free: {error}"))
}

fn no_table(error: io::Error) -> Failure {
    Failure::Broken(format!("the system does not tell whose connections there are: {error}"))
}
