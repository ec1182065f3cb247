//! The command line: what it takes, and which room does it.

mod approval;
mod ask;
mod audit;
mod by;
mod exec;
mod exit;
mod failure;
mod git_credential;
mod git_handle;
mod git_protocol;
mod git_setup;
mod grant;
mod mcp;
mod output;
#[cfg(feature = "policy")]
mod policy;
mod proxy;
mod secret_file;
mod session;
mod shell;
mod show;
mod span;
mod who;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand};
use jeton_client::{Client, Settings};

use self::{exit::Exit, failure::Failure, output::Output};

/// Narrow, short-lived credentials for AI agents.
#[derive(Parser)]
#[command(name = "jeton", version, about, after_help = exit::help())]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Where the broker is and who calls. Each option goes before the environment.
#[derive(Args)]
struct Global {
    /// Write JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// The broker, as https://host:port or unix:/path [env: JETON_ENDPOINT]
    #[arg(long, global = true, value_name = "URL")]
    endpoint: Option<String>,
    /// CA of the broker's certificate, in PEM [env: JETON_CA]
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Your certificate, in PEM [env: JETON_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its private key [env: JETON_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A file with your identity token [env: JETON_IDENTITY_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    identity_token_file: Option<PathBuf>,
    /// The session file; goes before JETON_SESSION too [env: JETON_SESSION_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    session_file: Option<PathBuf>,
    /// The gateway, as https://host:port [env: JETON_GATEWAY]
    #[arg(long, global = true, value_name = "URL")]
    gateway: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Open, look at and close sessions: one run of one agent each.
    #[command(subcommand)]
    Session(session::Command),
    /// Ask for, look at, renew and take back grants.
    #[command(subcommand)]
    Grant(grant::Command),
    /// Answer requests that wait for people.
    #[command(subcommand)]
    Approval(approval::Command),
    /// Run a command with a credential, and give the grant back when it ends.
    Exec(exec::Exec),
    /// Answer git as its credential helper; `jeton git setup` puts it in place.
    GitCredential(git_credential::GitCredential),
    /// Answer git as its credential helper for the gateway; `jeton git setup --through-gateway` puts it in place.
    GitHandle(git_handle::GitHandle),
    /// Run a command whose calls go through the gateway, so that it needs no secret at all.
    ///
    /// CMD calls the upstreams of the session by their own addresses, and the gateway adds what opens them: git
    /// goes there by `url.….insteadOf`, everything else by HTTPS_PROXY and a CA that lives as long as the run.
    /// What CMD sends to sign in itself is left out; where a tool insists on something, any dummy does. That
    /// proxy reaches no other host. Hosts that NO_PROXY names already are reached directly, as before.
    Proxy(proxy::Proxy),
    /// The process that becomes the command of `jeton proxy --alone`.
    #[command(hide = true)]
    ProxyInside(proxy::Inside),
    /// Set git up.
    #[command(subcommand)]
    Git(git_setup::Command),
    /// Serve an agent that is a model: tools of the Model Context Protocol on stdin and stdout. What it
    /// asks for goes to the gateway, so it never sees a credential.
    Mcp,
    /// Read, export and verify the audit log.
    #[command(subcommand)]
    Audit(Box<audit::Command>),
    /// Check, test, explain and compare policies, before anything rests on them.
    #[cfg(feature = "policy")]
    #[command(subcommand)]
    Policy(policy::Command),
    /// Tell who the broker takes you for.
    Whoami,
    /// Tell what a credential is good for at this moment.
    Introspect(who::Introspect),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Closes this process to others, as far as that is nobody else's business.
    fn close(&self) {
        match self {
            // Why neither: it writes the user map of its own namespace, which takes what this takes away.
            Self::ProxyInside(_) => {}
            // Why not the umask: the command that is run inherits it and may want its own. Secret files
            // are for their owner alone all the same.
            Self::Exec(_) | Self::Proxy(_) => jeton_files::close_memory(),
            Self::Session(_)
            | Self::Grant(_)
            | Self::Approval(_)
            | Self::GitCredential(_)
            | Self::GitHandle(_)
            | Self::Git(_)
            | Self::Mcp
            | Self::Audit(_)
            | Self::Whoami
            | Self::Introspect(_)
            | Self::Completions { .. } => {
                jeton_files::close_umask();
                jeton_files::close_memory();
            }
            #[cfg(feature = "policy")]
            Self::Policy(_) => {
                jeton_files::close_umask();
                jeton_files::close_memory();
            }
        }
    }
}

impl Global {
    fn output(&self) -> Output {
        if self.json { Output::Json } else { Output::Tables }
    }

    fn settings(&self) -> Settings {
        let env = Settings::from_env();
        // Why: the library takes the handle first; a file that was named is meant.
        let handle = if self.session_file.is_some() { None } else { env.handle };
        Settings {
            endpoint: self.endpoint.clone().or(env.endpoint),
            ca: self.ca.clone().or(env.ca),
            certificate: self.cert.clone().or(env.certificate),
            key: self.key.clone().or(env.key),
            identity_token_file: self.identity_token_file.clone().or(env.identity_token_file),
            session_file: self.session_file.clone().or(env.session_file),
            handle,
            gateway: self.gateway.clone().or(env.gateway),
        }
    }

    async fn connect(&self) -> Result<Client, Failure> {
        Ok(self.settings().connect().await?)
    }

    /// The options that were given, as words for another command line. Paths become absolute.
    fn words(&self) -> Result<Vec<String>, Failure> {
        let mut words = Vec::new();
        if let Some(endpoint) = &self.endpoint {
            words.extend(["--endpoint".to_owned(), endpoint.clone()]);
        }
        let files = [
            ("--ca", &self.ca),
            ("--cert", &self.cert),
            ("--key", &self.key),
            ("--identity-token-file", &self.identity_token_file),
            ("--session-file", &self.session_file),
        ];
        for (name, file) in files {
            if let Some(file) = file {
                let path = std::path::absolute(file)
                    .map_err(|error| Failure::config(format!("`{}`: {error}", file.display())))?;
                words.extend([name.to_owned(), text(path.into_os_string())?]);
            }
        }
        Ok(words)
    }
}

/// Runs the command line and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    harden();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Why ignored: the exit code still tells.
            let _ = error.print();
            let exit = if error.use_stderr() { exit::USAGE } else { exit::OK };
            return ExitCode::from(exit.code);
        }
    };
    cli.command.close();
    let output = cli.global.output();
    let code = match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            output.failure(&failure);
            failure.exit().code
        }
    };
    ExitCode::from(code)
}

fn run(cli: Cli) -> Result<u8, Failure> {
    // Why here: it must be the only thread, without a descriptor of a runtime.
    if let Command::ProxyInside(inside) = &cli.command {
        return inside.become_it();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Broken(format!("the runtime does not start: {error}")))?;
    let code = runtime.block_on(dispatch(cli));
    // Why: nothing that is left over may hold the exit up.
    runtime.shutdown_background();
    code
}

async fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let Cli { global, command } = cli;
    let done: Exit = match command {
        Command::Session(command) => session::run(&global, command).await?,
        Command::Grant(command) => grant::run(&global, command).await?,
        Command::Approval(command) => approval::run(&global, command).await?,
        Command::Exec(exec) => return exec::run(&global, exec).await,
        Command::GitCredential(helper) => git_credential::run(&global, &helper).await,
        Command::GitHandle(helper) => git_handle::run(&global, &helper),
        Command::Proxy(proxy) => return proxy::run(&global, proxy).await,
        Command::ProxyInside(inside) => return inside.become_it(),
        Command::Git(command) => git_setup::run(&global, &command)?,
        Command::Mcp => mcp::run(&global).await?,
        Command::Audit(command) => audit::run(&global, *command).await?,
        #[cfg(feature = "policy")]
        Command::Policy(command) => policy::run(&global, command).await?,
        Command::Whoami => who::am_i(&global).await?,
        Command::Introspect(introspect) => who::introspect(&global, &introspect).await?,
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "jeton", &mut text);
            output::raw(&text)?;
            exit::OK
        }
    };
    Ok(done.code)
}

fn text(word: OsString) -> Result<String, Failure> {
    word.into_string().map_err(|word| Failure::config(format!("`{}` is not UTF-8", word.display())))
}

/// No core file may hold what is in memory.
fn harden() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Core).maximum;
    // Why not the maximum too: `jeton exec` hands its limits down, and CMD may want its own.
    // Why ignored: where the system refuses, nothing can be done.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(line: &str) -> Result<Cli, clap::error::ErrorKind> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.kind())
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_session_is_bound_to_exactly_one_thing() {
        use clap::error::ErrorKind::{ArgumentConflict, MissingRequiredArgument};
        let open = "jeton session open --agent a --allow x";
        assert_eq!(reads(open).err(), Some(MissingRequiredArgument));
        assert_eq!(reads(&format!("{open} --bearer --bind-uid 1")).err(), Some(ArgumentConflict));
        assert_eq!(reads(&format!("{open} --bind-new-key")).err(), Some(MissingRequiredArgument));
        assert!(reads(&format!("{open} --bind-new-key --out f")).is_ok());
        assert!(reads(&format!("{open} --bearer")).is_ok());
    }

    #[test]
    fn a_revocation_of_many_says_which_and_why() {
        let line = "jeton grant revoke-matching --reason leak";
        assert!(reads(line).is_err());
        assert!(reads(&format!("{line} --all")).is_ok());
        assert!(reads(&format!("{line} --all --agent a")).is_err());
        assert!(reads("jeton grant revoke-matching --all").is_err());
    }

    #[test]
    fn exec_takes_everything_after_the_dashes_as_the_command() {
        assert!(reads("jeton exec --scope s -- env --json --fd").is_ok_and(|cli| !cli.global.json));
        assert!(reads("jeton exec --scope s --json --fd -- env").is_ok_and(|cli| cli.global.json));
        assert!(reads("jeton exec --scope s").is_err());
        assert!(reads("jeton exec --scope s --fd --env A -- env").is_err());
        assert!(reads("jeton exec --scope s --env A=B -- env").is_err());
    }

    #[test]
    fn a_secret_is_shown_or_written_but_not_both() {
        assert!(reads("jeton grant request s --show-secret --secret-file f").is_err());
        assert!(reads("jeton grant request s --secret-file f --json").is_ok());
    }

    #[test]
    fn named_options_go_into_another_command_line() {
        let cli = reads("jeton whoami --endpoint https://b:1 --ca /x/ca.pem").ok().unwrap();
        let words = cli.global.words().ok().unwrap();
        assert_eq!(words, ["--endpoint", "https://b:1", "--ca", "/x/ca.pem"]);
    }
}
