//! Measures what a decision costs with few and with many policies.

use clap::Parser;
use jeton_tests::policy_bench::{self, Plan};

/// Measures loading and deciding.
#[derive(Parser)]
struct Options {
    /// Policies of each set; the first is what the others are compared with.
    #[arg(long, value_delimiter = ',', default_value = "10,1000,10000")]
    policies: Vec<usize>,
    /// Resources of the catalogue.
    #[arg(long, default_value_t = 100_000)]
    resources: usize,
    /// Decisions of each kind.
    #[arg(long, default_value_t = 20_000)]
    decisions: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() {
    let Options { policies, resources, decisions, json } = Options::parse();
    let report = policy_bench::run(&Plan { policies, resources, decisions });
    let text = if json { serde_json::to_string_pretty(&report).unwrap() } else { report.words() };
    #[allow(clippy::print_stdout, reason = "the report is this program's result")]
    {
        println!("{text}");
    }
}
