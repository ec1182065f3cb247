//! Measures the time from an acknowledged revocation to refusal, for each way to hear of it.

use clap::Parser;
use jeton_tests::revoke_bench;

/// Measures taking back.
#[derive(Parser)]
struct Options {
    /// Grants that are taken back, for each way.
    #[arg(long, default_value_t = 1000)]
    trials: usize,
    /// Leave out the emulator that others wrote, where there is no Node: the front answers alone.
    #[arg(long)]
    no_emulator: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() {
    let Options { trials, no_emulator, json } = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let report = runtime.block_on(revoke_bench::run(trials, !no_emulator));
    let text = if json { serde_json::to_string_pretty(&report).unwrap() } else { report.words() };
    #[allow(clippy::print_stdout, reason = "the report is this program's result")]
    {
        println!("{text}");
    }
}
