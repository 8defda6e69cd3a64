//! Why a run stopped.

use evaluation::EvaluationError;
use hint::Hint;
use miette::Diagnostic;
use records::schema::Failure;
use thiserror::Error;

use super::signals::Interrupt;
use crate::library::LibraryError;
use crate::record::store::StoreError;

/// Why a run stopped.
#[derive(Debug, Error, Diagnostic)]
pub enum RunError {
    /// A model or task could not be loaded.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Library(#[from] LibraryError),
    /// The results folder could not be read or written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// The executor could not start.
    #[error("{error}")]
    Executor {
        /// Why.
        error: Box<EvaluationError>,
        /// What to do about it.
        #[help]
        hint: Option<String>,
    },
    /// The GPU does not answer any more.
    #[error("the GPU was lost: {error}")]
    #[diagnostic(help("finished groups are kept; run again to go on"))]
    Device {
        /// The driver's reason.
        error: String,
    },
    /// As many cells failed as `--max-failures` allows.
    #[error("stopped after {failures} failed cells, for example {trial} on {task}: {error}")]
    #[diagnostic(help(
        "finished groups are kept; run again without --max-failures (--fail-fast) to go on past failures, and `sweep retry --failed` \
         to run the failed cells again"
    ))]
    Failures {
        /// Cells that failed.
        failures: usize,
        /// The trial of one of them in words.
        trial: String,
        /// Its task.
        task: String,
        /// What went wrong there.
        error: String,
    },
    /// A signal asked the run to end.
    #[error("stopped by {0}; finished groups are kept")]
    #[diagnostic(help("run the same command again to go on"))]
    Interrupted(Interrupt),
}

impl From<EvaluationError> for RunError {
    fn from(error: EvaluationError) -> Self {
        let hint = error.hint();
        Self::Executor { error: Box::new(error), hint }
    }
}

/// What a record says of an evaluation that failed: the error, and its hint, wherever below it arose ([`EvaluationError::hint`]).
pub(super) fn failure(error: &EvaluationError) -> Failure {
    Failure { error: error.to_string(), hint: error.hint() }
}
