//! `jetond`, the broker.

use std::process::ExitCode;

fn main() -> ExitCode {
    jeton_broker::cli::main()
}
