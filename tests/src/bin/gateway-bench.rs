//! Measures the gateway against the same without it.

use clap::Parser;
use jeton_tests::gateway_bench::{self, Plan};

/// Measures transfers, small calls and memory.
#[derive(Parser)]
struct Options {
    /// Size of the repository, in MiB.
    #[arg(long, default_value_t = 500)]
    mib: usize,
    /// Rounds of each transfer.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Small calls of each kind.
    #[arg(long, default_value_t = 2_000)]
    calls: usize,
    /// Clones at once.
    #[arg(long, default_value_t = 200)]
    at_once: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() {
    let Options { mib, rounds, calls, at_once, json } = Options::parse();
    jeton_tests::crypto();
    let report = gateway_bench::run(&Plan { mib, rounds, calls, at_once }).await;
    let text = if json { serde_json::to_string_pretty(&report).unwrap() } else { report.words() };
    #[allow(clippy::print_stdout, reason = "the report is this program's result")]
    {
        println!("{text}");
    }
}
