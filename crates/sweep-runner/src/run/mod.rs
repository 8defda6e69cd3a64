//! The run: cells that are missing on disk are evaluated and recorded, one after the other.

mod cell;
mod guard;
mod memory;
mod progress;

use std::path::{Path, PathBuf};
use std::time::Instant;

use evaluation::tasks::Task;
use miette::Diagnostic;
use ssm_model::MambaLm;
use thiserror::Error;
use tracing::warn;

use crate::config::Experiment;
use crate::library::{Library, LibraryError};
use crate::plan::{Cell, Plan};
use crate::record::schema::Status;
use crate::record::store::{Store, StoreError};
use progress::Progress;

pub use guard::GuardRow;

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
    store.write_manifest(plan)?;
    let missing: Vec<&Cell> = plan.cells.iter().filter(|cell| !store.is_done(&cell.cell_id)).collect();
    let mut summary = RunSummary {
        folder: folder.to_owned(),
        ran: missing.len(),
        reused: plan.cells.len() - missing.len(),
        failed: 0,
    };
    if missing.is_empty() {
        return Ok(summary);
    }
    let progress = Progress::start(&missing, summary.reused);
    let mut loaded: Option<(usize, MambaLm)> = None;
    let mut tasks = Tasks::default();
    let mut guarded: Vec<GuardRow> = store.read_guards()?;
    for cell in missing {
        let trial = plan.trial_of(cell);
        if loaded.as_ref().map(|(index, _)| *index) != Some(trial.model) {
            // The old model goes before the new one comes: two large ones may not fit.
            drop(loaded.take());
            let reference = &plan.models[trial.model].reference;
            progress.say(&format!("loading {reference}"));
            let model = library.load_model(reference)?;
            guard::run(experiment, plan, trial.model, &model, library, &mut tasks, &mut guarded)?;
            store.write_guards(&guarded)?;
            loaded = Some((trial.model, model));
        }
        let Some((_, model)) = &loaded else { unreachable!("loaded above") };
        let task = tasks.get(library, &plan.models[trial.model].reference, &cell.task, experiment.limit)?;
        let started = Instant::now();
        let record = cell::evaluate_cell(experiment, trial, cell, model, task, library);
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
    progress.finish();
    Ok(summary)
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
