//! The run: cells that are missing on disk are evaluated and recorded, one after the other.

mod cell;
mod guard;
mod memory;
mod progress;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use evaluation::tasks::Task;
use miette::Diagnostic;
use thiserror::Error;
use tracing::warn;

use crate::config::Experiment;
use crate::library::{Library, LibraryError};
use crate::plan::{Cell, Plan};
use crate::record::guards::{ERROR, GuardRow};
use crate::record::schema::Status;
use crate::record::store::{Store, StoreError};
use progress::Progress;

/// How a run behaves; none of it changes a result.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Stop at the first cell that fails.
    pub fail_fast: bool,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// Results folder.
    pub folder: PathBuf,
    /// Cells evaluated now.
    pub ran: usize,
    /// Cells that were already there.
    pub reused: usize,
    /// Of the cells evaluated now, those that failed.
    pub failed: usize,
}

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
    /// A cell failed and `--fail-fast` was given.
    #[error("stopped at the first failure: {trial} on {task}: {error}")]
    #[diagnostic(help("finished cells are kept; run again without --fail-fast to go on past failures"))]
    FailFast {
        /// The trial in words.
        trial: String,
        /// Task name.
        task: String,
        /// What went wrong.
        error: String,
    },
}

/// Runs every cell of `plan` that has no finished record in `folder`.
///
/// # Errors
/// A model or task that cannot be loaded, a folder that cannot be written, or the first failure under `fail_fast`.
/// Any other failing cell becomes a record with its error.
pub fn run(
    experiment: &Experiment,
    plan: &Plan,
    library: &Library,
    folder: &Path,
    options: RunOptions,
) -> Result<RunSummary, RunError> {
    let store = Store::open(folder, &plan.experiment)?;
    store.write_plan(experiment, plan)?;
    store.write_manifest(experiment, plan)?;
    let missing: Vec<&Cell> = plan.cells.iter().filter(|cell| !store.is_done(&cell.cell_id)).collect();
    let mut guarded = store.read_guards()?;
    let unguarded = unguarded_models(plan, &mut guarded);
    let mut summary = RunSummary {
        folder: folder.to_owned(),
        ran: missing.len(),
        reused: plan.cells.len() - missing.len(),
        failed: 0,
    };
    store.write_guards(&guarded)?;
    if missing.is_empty() && unguarded.is_empty() {
        return Ok(summary);
    }
    let progress = Progress::start(&missing, summary.reused);
    let mut tasks = Tasks::default();
    // One model at a time: two large ones may not fit.
    for (index, facts) in plan.models.iter().enumerate() {
        let own: Vec<&Cell> = missing.iter().copied().filter(|cell| plan.trial_of(cell).model == index).collect();
        if own.is_empty() && !unguarded.contains(&index) {
            continue;
        }
        progress.say(&format!("loading {}", facts.reference));
        let model = library.load_model(&facts.reference)?;
        guard::run(experiment, plan, index, &model, library, &mut tasks, &mut guarded)?;
        store.write_guards(&guarded)?;
        for cell in own {
            let trial = plan.trial_of(cell);
            let task = tasks.get(library, &facts.reference, &cell.task, experiment.limit)?;
            let started = Instant::now();
            let record = cell::evaluate_cell(experiment, trial, cell, &model, task, library);
            store.write_cell(&record)?;
            progress.done(trial, cell, &record, started.elapsed());
            if record.status == Status::Failed {
                summary.failed += 1;
                let error = record.error.unwrap_or_default();
                if options.fail_fast {
                    return Err(RunError::FailFast { trial: trial.describe(), task: cell.task.clone(), error });
                }
                warn!(trial = trial.describe(), task = cell.task, error, "cell failed; the others go on");
            }
        }
    }
    progress.finish();
    Ok(summary)
}

/// Drops the rows of `guarded` that say nothing about this plan, or that an error left, and returns the models that lack
/// some.
fn unguarded_models(plan: &Plan, guarded: &mut Vec<GuardRow>) -> BTreeSet<usize> {
    let wanted: Vec<(usize, String)> = (0..plan.models.len())
        .flat_map(|model| plan.guarded(model).into_iter().map(move |(guard_id, _)| (model, guard_id)))
        .collect();
    // Failed cells run again, and so do failed guards: what went wrong may have been the machine.
    guarded.retain(|row| row.guard != ERROR && wanted.iter().any(|(_, guard_id)| row.guard_id == *guard_id));
    let missing = wanted.into_iter().filter(|(_, guard_id)| guarded.iter().all(|row| row.guard_id != *guard_id));
    missing.map(|(model, _)| model).collect()
}

/// Tasks that were loaded, by model and name: the tokens depend on the model's tokenizer.
#[derive(Default)]
pub(crate) struct Tasks(Vec<((String, String), Task)>);

impl Tasks {
    /// A task that was loaded before.
    pub(crate) fn loaded(&self, model: &str, name: &str) -> Option<&Task> {
        self.0.iter().find(|((known_model, known), _)| known_model == model && known == name).map(|(_, task)| task)
    }

    pub(crate) fn get(
        &mut self,
        library: &Library,
        model: &str,
        name: &str,
        limit: Option<usize>,
    ) -> Result<&Task, LibraryError> {
        let key = (model.to_owned(), name.to_owned());
        if let Some(index) = self.0.iter().position(|(known, _)| *known == key) {
            return Ok(&self.0[index].1);
        }
        let task = library.load_task(model, name, limit)?;
        self.0.push((key, task));
        Ok(&self.0[self.0.len() - 1].1)
    }
}
