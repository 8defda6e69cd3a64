//! The native module of the Python package `ssm_reduce`. Its interface is the package's own business: users call the Python around it.

#![allow(clippy::needless_pass_by_value, reason = "arguments that come from Python are values of their own")]

mod answer;
mod arrays;
mod compare;
mod error;
mod model;
mod rules;
mod runs;
mod site;

use std::ffi::OsString;
use std::path::Path;

use pyo3::prelude::*;
use sweep_runner::cli::{self, Host, WordsAndHint};

/// The module `ssm_reduce._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::arrays::Memory;
    #[pymodule_export]
    use super::compare::compare;
    #[pymodule_export]
    use super::main;
    #[pymodule_export]
    use super::model::Model;
    #[pymodule_export]
    use super::rules::register;
    #[pymodule_export]
    use super::runs::{plan, run};
    #[pymodule_export]
    use super::site::Site;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "its name in Python")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}

/// The command line `sweep`: `argv` with the name of the program first, `program` the words that start it again in another process.
/// Returns the exit code.
#[pyfunction]
fn main(py: Python<'_>, argv: Vec<OsString>, program: Vec<String>) -> u8 {
    let host = Host { program, load_rules };
    py.detach(|| cli::main_in(argv.into_iter(), Some(&host)))
}

/// Registers the strategies of a Python file.
fn load_rules(file: &Path) -> Result<(), WordsAndHint> {
    Python::attach(|py| {
        let loaded = py.import("ssm_reduce.strategy").and_then(|module| module.call_method1("load", (file,)));
        loaded.map(drop).map_err(|error| {
            let text = |name: &str| error.value(py).getattr(name).ok()?.extract::<Option<String>>().ok()?;
            (text("message").unwrap_or_else(|| error.to_string()), text("hint"))
        })
    })
}
