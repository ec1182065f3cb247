//! `jeton`, the command of agents, operators and auditors.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
