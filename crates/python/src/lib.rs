//! The native module of the Python package `ssm_reduce`.

mod compare;
mod error;

use std::ffi::OsString;

use pyo3::prelude::*;
use sweep_runner::cli::{self, Host};

/// The module `ssm_reduce._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::compare::compare;
    #[pymodule_export]
    use super::main;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "its name in Python")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}

/// The command line `sweep`: `argv` with the name of the program first, `program` the words that start it again in another process.
/// Returns the exit code.
#[pyfunction]
fn main(py: Python<'_>, argv: Vec<OsString>, program: Vec<String>) -> u8 {
    let host = Host { program };
    py.detach(|| cli::run(argv.into_iter(), Some(host)))
}
