//! Drives a real broker over mTLS from this process and compares it with a bare tonic echo.
//!
//! `cargo run --release -p jeton-tests --bin load -- --json`

use std::{io::Write, path::PathBuf, time::Duration};

use clap::Parser;
use jeton_tests::load;

/// Grants per second, latency, and the ratio to a bare tonic echo in the same run.
#[derive(Parser)]
struct Cli {
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Also measure with 1,000,000 active and with 1,000,000 old grants in the store.
    #[arg(long)]
    grown: bool,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Measurements of each, in turn; medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Calls at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    concurrency: Vec<usize>,
    /// Grants of the grown stores.
    #[arg(long, default_value_t = 1_000_000)]
    grants: u64,
    /// Another build of jetond to compare with, in pairs side by side.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Serve the echo with the certificates of this folder; used by the tool itself.
    #[arg(long, hide = true)]
    echo: Option<PathBuf>,
}

fn main() {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(folder) = cli.echo {
        return runtime.block_on(load::echo::serve(&folder));
    }
    let plan = load::Plan {
        window: Duration::from_secs_f64(cli.seconds),
        rounds: cli.rounds,
        concurrency: cli.concurrency,
        grown: cli.grown.then_some(cli.grants),
        against: cli.against,
    };
    let report = runtime.block_on(load::run(&plan));
    let text = if cli.json { report.json() } else { report.table() };
    std::io::stdout().write_all(format!("{text}\n").as_bytes()).unwrap();
}
