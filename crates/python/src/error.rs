//! Errors of Rust as exceptions of `ssm_reduce.errors`.

use hint::Hint;
use pyo3::prelude::*;
use sweep_runner::cli::Problem;

/// Exit code of the command line where the input was refused.
const REFUSED: u8 = 2;

/// The exception of this class: what is wrong, where, and what to do about it.
fn exception(py: Python<'_>, class: &str, message: &str, place: Option<&str>, hint: Option<&str>) -> PyErr {
    let class = py.import("ssm_reduce.errors").and_then(|module| module.getattr(class));
    match class.and_then(|class| class.call1((message, place, hint))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// An `ssm_reduce.Refused` in words.
pub(super) fn refused(py: Python<'_>, message: &str, hint: Option<&str>) -> PyErr {
    exception(py, "Refused", message, None, hint)
}

/// An `ssm_reduce.Refused` with the hint that an error of Rust has.
pub(super) fn hinted(py: Python<'_>, cause: &dyn Hint) -> PyErr {
    exception(py, "Refused", &cause.to_string(), None, cause.hint().as_deref())
}

/// What a plan or a run could not do.
pub(super) fn problem(py: Python<'_>, problem: &Problem) -> PyErr {
    let Problem { message, place, hint, code } = problem;
    let class = if *code == REFUSED { "Refused" } else { "RunFailed" };
    exception(py, class, message, place.as_deref(), hint.as_deref())
}
