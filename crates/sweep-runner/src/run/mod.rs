//! The run: cells that are missing on disk are evaluated and recorded.
//!
//! ```text
//! plan -> cohorts (model, task, protocol) -> groups of items -> a shard of them, or all
//!   turn: for each model, each group that cells lack and nobody holds:
//!           lease -> all its cells at once (shared) or one by one (alone) -> part, on disk
//!           cells whose parts are all there -> record, on disk
//!   wait: until others have done what they hold, or have died and left it
//! ```

mod alone;
mod batch;
mod calibrate;
mod cell;
mod error;
mod groups;
mod guard;
mod ledger;
mod lost;
mod memory;
mod probes;
mod progress;
mod recorder;
mod shard;
mod shared;
mod signals;
mod task_items;
mod tasks;
mod turn;
mod wait;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use records::schema::{Failure, Status};
use ssm_model::Placement;
use tracing::warn;

use crate::config::Experiment;
use crate::library::Library;
use crate::plan::ExperimentPlan;
use crate::rates::Took;
use crate::record::manifest::{self, SharingRecord};
use crate::record::store::{Consent, Store};
use guard::Guards;
use ledger::Ledger;
use progress::Progress;
use recorder::Recorder;
use tasks::Tasks;
use wait::Next;

pub use calibrate::{Unreached, calibrate};
pub use error::RunError;
pub use memory::{default_budget, parse_bytes};
pub use probes::{ProbeSummary, probes};
pub use shard::Shard;
pub use signals::{Interrupt, Listening, Stop, Taken, attend};

/// Timed runs of a cell that can be asked for.
pub const REPEATS: RangeInclusive<u32> = 2..=1000;

/// How a run behaves.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Stop as soon as so many cells failed; never if not given.
    pub max_failures: Option<usize>,
    /// Run cell by cell.
    pub no_sharing: bool,
    /// Timed runs of a cell, after an untimed first one, cell by cell. One run, which is timed, if not given.
    pub repeats: Option<usize>,
    /// Bytes that activations may use where cells share work; half of what is available if not given.
    pub memory_bytes: Option<u64>,
    /// Where models compute; the plan says the same in its setting.
    pub placement: Placement,
    /// Take the groups of this share only; all of them if not given.
    pub shard: Option<Shard>,
    /// What it may do with a folder that holds something already.
    pub consent: Consent,
    /// Run failed cells again; they are left alone otherwise.
    pub retry_failed: bool,
    /// Say nothing of progress.
    pub quiet: bool,
    /// Whether the run was asked to end.
    pub stop: Stop,
}

impl Default for RunOptions {
    /// On the CPU, past failures, sharing work.
    fn default() -> Self {
        Self {
            max_failures: None,
            no_sharing: false,
            repeats: None,
            memory_bytes: None,
            placement: Placement::cpu(),
            shard: None,
            consent: Consent::default(),
            retry_failed: false,
            quiet: false,
            stop: Stop::default(),
        }
    }
}

impl RunOptions {
    /// Whether cells run one by one, as those do that are timed.
    fn runs_alone(&self) -> bool {
        self.no_sharing || self.repeats.is_some()
    }
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// Results folder.
    pub folder: PathBuf,
    /// Cells recorded now.
    pub ran: usize,
    /// Cells that were already there.
    pub reused: usize,
    /// Of the cells recorded now, those that failed.
    pub failed: usize,
    /// Cells that failed in an earlier run and were left alone.
    pub left_failed: usize,
    /// Cells that have no record yet: those of other shards.
    pub unfinished: usize,
    /// What sharing saved; none where cells ran one by one.
    pub sharing: Option<SharingRecord>,
    /// What the cells recorded now took, by model in the order of the plan.
    pub took: Vec<Took>,
}

/// Runs every cell of `plan` that has no record in `folder`, or those groups of them that belong to the shard. Other processes may do
/// the same at the same time: each group is run by one of them.
///
/// # Errors
/// A folder that is refused ([`StoreError::is_refusal`](crate::record::store::StoreError::is_refusal)) or cannot be written, a model or
/// task that cannot be loaded, too many failures, or a signal. A failing cell becomes a record with its error.
pub fn run(
    experiment: &Experiment,
    plan: &ExperimentPlan,
    library: &Library,
    folder: &Path,
    options: &RunOptions,
) -> Result<RunSummary, RunError> {
    if let Some(trial) = plan.trials.iter().find(|trial| trial.uncalibrated().is_some()) {
        return Err(RunError::Uncalibrated { trial: trial.describe() });
    }
    let store = Store::open(folder, plan, options.consent)?;
    store.write_plan(experiment, plan)?;
    let manifest = manifest::collect(experiment, plan, library.hub_commits());
    store.write_manifest(&manifest)?;
    let endings = endings(plan, &store, options)?;
    let count = |status: Option<Status>| endings.iter().filter(|ending| **ending == status).count();
    let (missing, left_failed) = (count(None), count(Some(Status::Failed)));
    if options.repeats.is_some() {
        warn_of_untimed(plan, &store)?;
    }
    let mut guards = Guards::read(&store, plan, options.consent.keep_other_code)?;
    let mut summary = RunSummary {
        folder: folder.to_owned(),
        ran: 0,
        reused: count(Some(Status::Done)),
        failed: 0,
        left_failed,
        unfinished: 0,
        sharing: None,
        took: Vec::new(),
    };
    if missing == 0 && guards.missing_models().next().is_none() && !task_items::are_missing(plan, &store)? {
        return Ok(summary);
    }
    let progress = Progress::start(missing, summary.reused, options.quiet);
    let mut tasks = Tasks::default();
    let (cohorts, unfit) = groups::cohorts(experiment, plan, library, &mut tasks)?;
    task_items::write(&cohorts, &tasks, library, &store)?;
    // Nothing is left to guard of a model that no task fits.
    let idle = (0..plan.models.len()).filter(|model| cohorts.iter().all(|cohort| cohort.model != *model));
    idle.for_each(|model| guards.drop_model(model));
    let counts = cohorts.iter().map(|cohort| (cohort.planned.cohort_id.clone(), cohort.spans.len())).collect();
    store.write_groups(&counts)?;
    let mine = groups::groups(plan, &cohorts, options.shard);
    let sound = plan.cells.iter().zip(&endings).filter(|(_, ending)| ending.is_some());
    let sound = sound.map(|(cell, _)| cell.cell_id.clone()).collect();
    let ledger = Ledger::new(&store, plan, &cohorts, sound, options.consent.keep_other_code)?;
    let mut recorder = Recorder::new(&ledger, library, options, progress, manifest);
    let mut turns = || {
        recorder.unfit(&unfit)?;
        loop {
            turn::run(experiment, &mine, &mut guards, &mut tasks, &mut recorder)?;
            if wait::wait(&mine, options.shard.is_none(), &mut guards, &recorder)? == Next::End {
                return Ok(());
            }
        }
    };
    if let Err(error) = turns() {
        let error = lost::cause(&options.placement.device, error);
        let hint = miette::Diagnostic::help(&error).map(|hint| hint.to_string());
        recorder.manifest.stopped = Some(Failure { error: error.to_string(), hint }.to_string());
        store.write_manifest(&recorder.manifest)?;
        return Err(error);
    }
    recorder.progress.finish();
    summary.took = std::mem::take(&mut recorder.took);
    summary.ran = recorder.ran;
    summary.failed = recorder.failed.len();
    summary.unfinished = (0..plan.cells.len()).filter(|cell| !ledger.is_recorded(*cell)).count();
    summary.sharing = recorder.manifest.sharing;
    Ok(summary)
}

/// Says how many cells of earlier runs have no time of their own: they are not run again for it.
fn warn_of_untimed(plan: &ExperimentPlan, store: &Store) -> Result<(), RunError> {
    let mut untimed = 0;
    for cell in &plan.cells {
        let record = store.look(&cell.cell_id)?.and_then(Result::ok);
        untimed +=
            usize::from(record.is_some_and(|record| record.status == Status::Done && record.cost.repeats_s.is_empty()));
    }
    if untimed > 0 {
        warn!(
            cells = untimed,
            "they were recorded without repeats and stay untimed; choose a new folder with --out to time all"
        );
    }
    Ok(())
}

/// How each cell ended in earlier runs, from the records that can be reused. Those that failed are made to run again by a retry.
fn endings(plan: &ExperimentPlan, store: &Store, options: &RunOptions) -> Result<Vec<Option<Status>>, RunError> {
    let mut endings = store.review(plan, options.consent.keep_other_code)?;
    if options.retry_failed {
        for name in store.parts().names()? {
            store.parts().forget_failures(&name)?;
        }
        for (cell, ending) in plan.cells.iter().zip(&mut endings) {
            if ending.take_if(|ending| *ending == Status::Failed).is_some() {
                store.remove_cell(&cell.cell_id);
            }
        }
    }
    Ok(endings)
}
