//! Measures the log: first pages of queries in a long log against a short one, bytes of an entry,
//! time from commit to a subscriber, and the speed and memory of the offline verifier.

use clap::Parser;
use jeton_tests::log_bench::{self, Plan};

/// Measures the log.
#[derive(Parser)]
struct Options {
    /// Entries of the long log.
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Entries of the short log.
    #[arg(long, default_value_t = 10_000)]
    short: u64,
    /// First pages of each filter.
    #[arg(long, default_value_t = 300)]
    pages: usize,
    /// Grants whose entries are awaited by a subscriber.
    #[arg(long, default_value_t = 500)]
    tails: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() {
    let Options { entries, short, pages, tails, json } = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let report = runtime.block_on(log_bench::run(&Plan { entries, short, pages, tails }));
    let text = if json { serde_json::to_string_pretty(&report).unwrap() } else { report.words() };
    #[allow(clippy::print_stdout, reason = "the report is this program's result")]
    {
        println!("{text}");
    }
}
