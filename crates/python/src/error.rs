//! Errors of Rust as exceptions of `ssm_reduce.errors`.

use hint::Hint;
use pyo3::prelude::*;

/// An `ssm_reduce.Error`: what is wrong, where, and what to do about it.
pub(super) fn error(py: Python<'_>, message: &str, place: Option<&str>, hint: Option<&str>) -> PyErr {
    let class = py.import("ssm_reduce.errors").and_then(|module| module.getattr("Error"));
    match class.and_then(|class| class.call1((message, place, hint))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// An `ssm_reduce.Error` with the hint that an error of Rust has.
pub(super) fn hinted(py: Python<'_>, cause: &dyn Hint) -> PyErr {
    error(py, &cause.to_string(), None, cause.hint().as_deref())
}
