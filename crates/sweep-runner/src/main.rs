//! The binary `sweep`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sweep_runner::cli::main()
}
