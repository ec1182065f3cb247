//! A local git host that asks the broker at every request whether a credential is good right now.
//!
//! Used by `./deploy/demo`; the broker is found by the variables of the `jeton` command.

use std::{io::Write, path::PathBuf, sync::Arc};

use clap::Parser;
use jeton_client::Client;
use jeton_tests::git_host::{ByBroker, GitHost};

/// Serves bare repositories over HTTP.
#[derive(Parser)]
struct Cli {
    /// Where the repositories are.
    #[arg(long)]
    root: PathBuf,
    /// Repositories to make, as owner/name.
    #[arg(long)]
    make: Vec<String>,
    /// The port; any free one if it is left out.
    #[arg(long, default_value_t = 0)]
    port: u16,
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
    let host = GitHost::start_at(cli.port, &cli.root, Arc::new(ByBroker::knowing(broker))).await;
    for name in &cli.make {
        host.create_repo(name);
    }
    let draft = cli.url_file.with_extension("new");
    std::fs::write(&draft, host.url()).unwrap();
    std::fs::rename(&draft, &cli.url_file).unwrap();
    std::future::pending::<()>().await;
}
