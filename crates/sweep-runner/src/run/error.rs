//! Why a run stopped.

use evaluation::EvaluationError;
use hint::Hint;
use miette::Diagnostic;
use records::schema::Failure;
use thiserror::Error;

use super::calibrate::Unreached;
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
    /// Reductions that no threshold achieves.
    #[error("no threshold achieves the FLOPs reductions that are asked for, to half a point:{}", unreached(_0))]
    #[diagnostic(help(
        "ask for a reduction within the range, start at an earlier layer, or change the rule's other options"
    ))]
    Unreached(Vec<Unreached>),
    /// A plan whose thresholds were not found before it was run.
    #[error("the threshold of {trial} was not found yet")]
    #[diagnostic(help("call `run::calibrate` and build the plan again before it runs"))]
    Uncalibrated {
        /// The trial in words.
        trial: String,
    },
    /// A signal asked the run to end.
    #[error("stopped by {0}; finished groups are kept")]
    #[diagnostic(help("run the same command again to go on"))]
    Interrupted(Interrupt),
}

fn unreached(all: &[Unreached]) -> String {
    let percent = |share: f64| (share * 1e4).round() / 1e2;
    let line = |one: &Unreached| {
        let Unreached { place, target, option, bounds: (low, high), items, tried } = one;
        let at =
            |value: f64| tried.iter().find(|(tried, _)| tried.to_bits() == value.to_bits()).map(|(_, share)| *share);
        let reach = match (at(*low), at(*high)) {
            (Some(a), Some(b)) => {
                let nearest = tried
                    .iter()
                    .map(|(_, share)| *share)
                    .min_by(|a, b| (a - target).abs().total_cmp(&(b - target).abs()));
                format!(
                    "`{option}` from {low} to {high} achieves {} % to {} % on {items} items of `tune`, {} % at the nearest",
                    percent(a.min(b)),
                    percent(a.max(b)),
                    percent(nearest.unwrap_or(a)),
                )
            }
            _ => "the split `tune` has no items".to_owned(),
        };
        format!("\n{} % for {place}: {reach}", percent(*target))
    };
    all.iter().map(line).collect()
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
