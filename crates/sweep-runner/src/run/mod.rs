//! The run: cells that are missing on disk are evaluated and recorded, those of one model together.

mod batch;
mod cell;
mod guard;
mod memory;
mod progress;
mod shard;
mod shared;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evaluation::EvaluationError;
use evaluation::executor::Sharing;
use evaluation::tasks::Task;
use miette::Diagnostic;
use ssm_kernels::device;
use ssm_model::Placement;
use thiserror::Error;
use tracing::warn;

use crate::config::Experiment;
use crate::library::{Library, LibraryError};
use crate::plan::{Cell, Plan};
use crate::record::guards::{ERROR, GuardRow};
use crate::record::manifest;
use crate::record::schema::{CellRecord, Status};
use crate::record::store::{Store, StoreError};
use batch::BatchRows;
use cell::Context;
use progress::Progress;

pub use memory::parse_bytes;
pub use shard::Shard;

/// How a run behaves.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Stop at the first cell that fails.
    pub fail_fast: bool,
    /// Run cell by cell.
    pub no_sharing: bool,
    /// Bytes that activations may use where cells share work; half of what is available if not given.
    pub memory_bytes: Option<u64>,
    /// Where models compute; the plan says the same in its setting.
    pub placement: Placement,
    /// Take the units of this share only; all of them if not given.
    pub shard: Option<Shard>,
}

impl Default for RunOptions {
    /// On the CPU, past failures, sharing work.
    fn default() -> Self {
        Self { fail_fast: false, no_sharing: false, memory_bytes: None, placement: Placement::cpu(), shard: None }
    }
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
    /// What sharing saved; none where cells ran one by one.
    pub sharing: Option<Sharing>,
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
    /// The executor could not start.
    #[error(transparent)]
    Executor(#[from] EvaluationError),
    /// The GPU does not answer any more.
    #[error("the GPU was lost: {error}")]
    #[diagnostic(help("finished cells are kept; run again to go on"))]
    Device {
        /// The driver's reason.
        error: String,
    },
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
    options: &RunOptions,
) -> Result<RunSummary, RunError> {
    let store = Store::open(folder, &plan.experiment)?;
    store.write_plan(experiment, plan)?;
    let mut manifest = manifest::collect(experiment, plan);
    store.write_manifest(&manifest)?;
    let missing: Vec<&Cell> = plan.cells.iter().filter(|cell| !store.is_done(&cell.cell_id)).collect();
    let mut guarded = store.read_guards()?;
    let unguarded = unguarded_models(plan, &mut guarded);
    let mut summary = RunSummary {
        folder: folder.to_owned(),
        ran: missing.len(),
        reused: plan.cells.len() - missing.len(),
        failed: 0,
        sharing: None,
    };
    store.write_guards(&guarded)?;
    if missing.is_empty() && unguarded.is_empty() {
        return Ok(summary);
    }
    let progress = Progress::start(missing.len(), summary.reused);
    let mut tasks = Tasks::default();
    let mut recorder = Recorder { store: &store, plan, progress, options, failed: 0 };
    // One model at a time: two large ones may not fit.
    for (index, facts) in plan.models.iter().enumerate() {
        let own: Vec<&Cell> = missing.iter().copied().filter(|cell| plan.trial_of(cell).model == index).collect();
        if own.is_empty() && !unguarded.contains(&index) {
            continue;
        }
        recorder.progress.say(&format!("loading {}", facts.reference));
        let model = library.load_model(&facts.reference, &options.placement)?;
        guard::run(experiment, plan, index, &model, library, &mut tasks, &mut guarded)?;
        store.write_guards(&guarded)?;
        for cell in &own {
            tasks.get(library, &facts.reference, &cell.task, experiment.limit)?;
        }
        recorder.progress.begin(own.len());
        let on_cpu = options.placement.device.is_cpu();
        let batch = BatchRows::new(on_cpu);
        let context = Context { experiment, model: &model, library, batch: &batch };
        let work: Vec<(&Cell, &Task)> =
            own.iter().filter_map(|cell| Some((*cell, tasks.loaded(&facts.reference, &cell.task)?))).collect();
        if options.no_sharing || !on_cpu {
            if !options.no_sharing {
                recorder
                    .progress
                    .say("on a GPU cells run one by one: sharing plans on the host, which costs more there");
            }
            one_by_one(context, &work, &mut recorder)?;
        } else {
            let sharing = shared::run(context, &work, &mut recorder)?;
            summary.sharing = Some(summary.sharing.unwrap_or_default().and(sharing));
        }
    }
    recorder.progress.finish();
    summary.failed = recorder.failed;
    manifest.sharing = summary.sharing.map(Into::into);
    store.write_manifest(&manifest)?;
    Ok(summary)
}

/// Evaluates each cell by itself: the reference that sharing is compared with.
fn one_by_one(context: Context<'_>, work: &[(&Cell, &Task)], recorder: &mut Recorder<'_>) -> Result<(), RunError> {
    for (index, (cell, task)) in work.iter().enumerate() {
        let started = Instant::now();
        let record = cell::evaluate_cell(context, recorder.plan.trial_of(cell), cell, task);
        recorder.progress.advance((index + 1) as f64 / work.len() as f64);
        recorder.record(cell, &record, started.elapsed())?;
        if record.status == Status::Failed {
            // Most errors of a cell leave the device as it was; a few make everything after them fail.
            device::synchronize(&context.model.placement().device)
                .map_err(|error| RunError::Device { error: error.to_string() })?;
        }
    }
    Ok(())
}

/// Where finished cells go.
struct Recorder<'a> {
    store: &'a Store,
    plan: &'a Plan,
    progress: Progress,
    options: &'a RunOptions,
    failed: usize,
}

impl Recorder<'_> {
    /// Writes a cell down; stops the run where it failed and that was asked for.
    fn record(&mut self, cell: &Cell, record: &CellRecord, took: Duration) -> Result<(), RunError> {
        self.store.write_cell(record)?;
        let trial = self.plan.trial_of(cell);
        self.progress.done(trial, cell, record, took);
        if record.status == Status::Failed {
            self.failed += 1;
            let error = record.error.clone().unwrap_or_default();
            if self.options.fail_fast {
                return Err(RunError::FailFast { trial: trial.describe(), task: cell.task.clone(), error });
            }
            warn!(trial = trial.describe(), task = cell.task, error, "cell failed; the others go on");
        }
        Ok(())
    }
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
