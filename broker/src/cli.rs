//! The command line of `jetond`.

mod show_log;

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use jeton_domain::{scope::Upstream, secret::Secret};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::{
    app::{self, AppError},
    config::Config,
    dev, telemetry,
};

/// The configuration, or something that it names, is not usable (`EX_USAGE`).
const EXIT_CONFIG: u8 = 64;
/// The broker broke (`EX_SOFTWARE`).
const EXIT_BROKEN: u8 = 70;

/// The scoped credential broker for AI agents.
#[derive(Parser)]
#[command(
    name = "jetond",
    version,
    about,
    after_help = "Exit codes: 0 stopped as asked, 64 configuration not usable, 70 broken."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, then drain.
    Serve {
        /// The configuration, in TOML.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Tell every problem of a configuration and of the files that it names.
    CheckConfig {
        /// The configuration, in TOML.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Seal the key of an upstream of the kind "static-key", read from the input, into its file.
    SealKey {
        /// The configuration, in TOML.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The upstream.
        #[arg(value_parser = Upstream::parse)]
        upstream: Upstream,
    },
    /// Show the log of a store file, also of a running broker, and check that each entry fits the tree.
    Log {
        /// The store's file.
        #[arg(long, value_name = "FILE")]
        store: PathBuf,
        /// One JSON object a line, as it is stored.
        #[arg(long)]
        json: bool,
    },
    /// Make everything for development in a folder (CA, certificates, keys, policies) and serve.
    Dev {
        /// The folder; made if it is not there.
        #[arg(long, value_name = "FOLDER", default_value = ".jeton-dev")]
        data: PathBuf,
        /// Listen on ports that are free instead of 7443, 7080 and 7090.
        #[arg(long)]
        free_ports: bool,
        /// Only make the files.
        #[arg(long)]
        only_make: bool,
    },
}

/// Runs the command line and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    harden();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let wrong = error.use_stderr();
            return if wrong { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut err = std::io::stderr();
            let _ = writeln!(err, "jetond: {error}");
            ExitCode::from(match error {
                AppError::Unusable(_) => EXIT_CONFIG,
                AppError::Broken(_) => EXIT_BROKEN,
            })
        }
    }
}

fn run(command: Command) -> Result<(), AppError> {
    match command {
        Command::CheckConfig { config } => {
            for odd in app::check(&load(&config)?)? {
                say(&format!("{}: {odd}", config.display()));
            }
            say(&format!("{}: good", config.display()));
            Ok(())
        }
        Command::SealKey { config, upstream } => {
            let config = load(&config)?;
            let mut text = Zeroizing::new(String::new());
            // Why bounded: whatever is longer is no key.
            let mut input = std::io::stdin().lock().take(64 * 1024);
            input
                .read_to_string(&mut text)
                .map_err(|error| AppError::Unusable(format!("the key can't be read: {error}")))?;
            let key = Secret::new(text.trim().to_owned());
            let file = app::seal_key(&config, &upstream, &key)?;
            say(&format!(
                "the key of `{upstream}` is sealed in {}; start jetond again",
                file.display()
            ));
            Ok(())
        }
        Command::Log { store, json } => show_log::show_log(&store, json),
        Command::Serve { config } => {
            let config = load(&config)?;
            serve(config, |_| Ok(()))
        }
        Command::Dev { data, free_ports, only_make } => {
            let file = dev::make(&data, free_ports)?;
            say(dev::WARNING);
            if only_make {
                return Ok(());
            }
            serve(load(&file)?, move |running| dev::write_environment(&data, running))
        }
    }
}

fn load(file: &std::path::Path) -> Result<Config, AppError> {
    Config::load(file).map_err(|bad| AppError::Unusable(bad.to_string()))
}

fn serve(
    config: Config,
    opened: impl FnOnce(&app::Running) -> Result<(), AppError>,
) -> Result<(), AppError> {
    telemetry::start_logs(config.log.format, &config.log.filter).map_err(AppError::Unusable)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| AppError::Broken(error.to_string()))?;
    runtime.block_on(async {
        let heard = |kind| signal(kind).map_err(|error| AppError::Broken(error.to_string()));
        let (mut term, mut int) =
            (heard(SignalKind::terminate())?, heard(SignalKind::interrupt())?);
        let running = app::start(config).await?;
        opened(&running)?;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        running.drain().await;
        Ok(())
    })
}

/// No core file may hold what is in memory, nobody else may read it, and what is written is for this
/// user alone.
fn harden() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    jeton_files::close_umask();
    jeton_files::close_memory();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Why ignored: where the system refuses, the limit was lower already or nothing can be done.
    let _ = setrlimit(Resource::Core, none);
}

fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}
