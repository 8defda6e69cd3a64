//! Probes that are missing on disk are looked at and recorded, one after the other, a model at a time.

use std::path::Path;
use std::time::{Duration, Instant};

use evaluation::probes::{ProbeRow, ProbeSetup};
use evaluation::tasks::Task;
use records::probes::{PROBE_SCHEMA_VERSION, ProbeRecord};
use records::schema::{Failure, Status};
use ssm_model::LanguageModel;
use tracing::warn;

use super::tasks::Tasks;
use super::{RunError, RunOptions, cell, error, lost};
use crate::config::Experiment;
use crate::library::Library;
use crate::plan::{ExperimentPlan, ProbeCell};
use crate::record::lease::{Leases, Taken};
use crate::record::probes::ProbeStore;
use crate::record::store::{StoreError, io};
use crate::say::say;

/// Time between two looks at what others hold.
const PAUSE: Duration = Duration::from_millis(500);

/// What a run of probes did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeSummary {
    /// Probes recorded now.
    pub ran: usize,
    /// Probes that were already there.
    pub reused: usize,
    /// Of those recorded now, those that failed.
    pub failed: usize,
}

/// Runs every probe of `plan` that has no record in `folder`, or those of them that belong to the shard. Other processes may do the same at
/// the same time: each probe is run by one of them. A failing probe becomes a record with its error.
///
/// # Errors
/// A model or task that cannot be loaded, a folder that cannot be written, a GPU that is lost, or a signal.
pub fn probes(
    experiment: &Experiment,
    plan: &ExperimentPlan,
    library: &Library,
    folder: &Path,
    options: &RunOptions,
) -> Result<ProbeSummary, RunError> {
    let store = ProbeStore::at(folder);
    let ids: Vec<&str> = plan.probes.iter().map(|probe| probe.probe_id.as_str()).collect();
    store.write_index(&ids)?;
    let leases = Leases::open(&folder.join("leases"));
    let mine = options.shard.map_or_else(|| vec![true; ids.len()], |shard| shard.assign(&vec![1.0; ids.len()]));
    let code = |probe: &'_ ProbeCell| (!options.consent.keep_other_code).then(|| probe.code.clone());
    let own = plan.probes.iter().zip(mine).filter_map(|(probe, mine)| mine.then_some(probe));
    let mut left: Vec<&ProbeCell> = own
        .map(|probe| Ok((probe, store.is_done(&probe.probe_id, code(probe).as_ref())?)))
        .filter_map(|looked| looked.map(|(probe, done)| (!done).then_some(probe)).transpose())
        .collect::<Result<_, StoreError>>()?;
    let mut summary = ProbeSummary { reused: ids.len() - left.len(), ..ProbeSummary::default() };
    if options.shard.is_some() {
        summary.reused = 0;
    }
    let mut looker = Looker { experiment, plan, library, options, tasks: Tasks::default(), model: None };
    let device = &options.placement.device;
    let mut first = true;
    while !left.is_empty() {
        if !first {
            // What is left is held by others, who finish it or die and leave it.
            std::thread::sleep(PAUSE);
        }
        first = false;
        let mut held = Vec::new();
        for probe in left {
            if let Some(interrupt) = options.stop.requested() {
                return Err(RunError::Interrupted(interrupt));
            }
            let work = format!("probe {} on {}, {}", probe.probe.name, plan.models[probe.model].reference, probe.task);
            let taken = leases.take(&probe.probe_id, &work).map_err(|error| io("write", leases.folder(), error))?;
            let Taken::Mine(lease) = taken else {
                held.push(probe);
                continue;
            };
            // Only now: who held it before may have finished it since the last look.
            if store.review(&probe.probe_id, code(probe).as_ref())? {
                summary.reused += 1;
                continue;
            }
            let record = looker.record(probe).map_err(|error| lost::cause(device, error))?;
            // What a probe says that was stopped is no result.
            if let Some(interrupt) = options.stop.requested().filter(|_| record.status == Status::Failed) {
                return Err(RunError::Interrupted(interrupt));
            }
            lost::check(device, std::iter::once(record.status == Status::Failed))?;
            store.write(&record)?;
            drop(lease);
            summary.ran += 1;
            summary.failed += usize::from(record.status == Status::Failed);
            tell(&record, summary.ran + summary.reused, ids.len());
        }
        left = held;
    }
    Ok(summary)
}

/// One line on how a probe ended.
fn tell(record: &ProbeRecord, done: usize, all: usize) {
    let of = record.trial.as_ref().map_or_else(String::new, |trial| format!(" of {}", trial.strategy));
    let (probe, model, task) = (&record.probe, &record.model, &record.task);
    let ended = match record.status {
        Status::Done => format!("{:.1} s", record.wall_s),
        Status::Failed => {
            let failure = record.failure();
            warn!(probe, task, error = failure.error, hint = failure.hint, "probe failed; the others go on");
            format!("FAILED: {failure}")
        }
    };
    say(&format!("probe {done}/{all} · {model} · {probe}{of} · {task} · {ended}"));
}

/// Runs probes, a model at a time: two large ones may not fit.
struct Looker<'a> {
    experiment: &'a Experiment,
    plan: &'a ExperimentPlan,
    library: &'a Library,
    options: &'a RunOptions,
    tasks: Tasks,
    model: Option<(usize, LanguageModel)>,
}

impl Looker<'_> {
    fn record(&mut self, probe: &ProbeCell) -> Result<ProbeRecord, RunError> {
        let reference = &self.plan.models[probe.model].reference;
        if self.model.as_ref().is_none_or(|(index, _)| *index != probe.model) {
            self.model = None;
            let (model, stop) =
                (self.library.load_model(reference, &self.options.placement)?, self.options.stop.clone());
            self.model = Some((probe.model, model.stopping_when(move || stop.requested().is_some())));
        }
        let task = match self.tasks.get(self.library, reference, &probe.task, self.experiment) {
            Ok(task) => task,
            // A matter of this task: other probes go on.
            Err(error) if error.is_of_task() => return Ok(failure(self.plan, probe, error.failure())),
            Err(error) => return Err(error.into()),
        };
        let Some((_, model)) = &self.model else { unreachable!("loaded above") };
        Ok(look(self.plan, probe, model, task))
    }
}

fn look(plan: &ExperimentPlan, probe: &ProbeCell, model: &LanguageModel, task: &Task) -> ProbeRecord {
    let trial = probe.trial.map(|trial| &plan.trials[trial]);
    let reduction = trial.map(cell::reduction);
    let items = &task.items[..probe.items.min(task.items.len())];
    let setup = ProbeSetup {
        model,
        kind: task.kind,
        items,
        options: &probe.options,
        seed: probe.seed,
        reduction: reduction.as_ref(),
    };
    let started = Instant::now();
    let result = probe.probe.run(&setup);
    let wall_s = started.elapsed().as_secs_f64();
    let outcome = result.map(|table| table.rows).map_err(|error| error::failure(&error));
    record(plan, probe, items.len(), outcome, wall_s)
}

/// The record of a probe whose task cannot be loaded.
fn failure(plan: &ExperimentPlan, probe: &ProbeCell, failure: Failure) -> ProbeRecord {
    record(plan, probe, 0, Err(failure), 0.0)
}

fn record(
    plan: &ExperimentPlan,
    probe: &ProbeCell,
    items: usize,
    outcome: Result<Vec<ProbeRow>, Failure>,
    wall_s: f64,
) -> ProbeRecord {
    let (status, failure, rows) = match outcome {
        Ok(rows) => (Status::Done, None, rows),
        Err(failure) => (Status::Failed, Some(failure), Vec::new()),
    };
    let (error, hint) = failure.map_or((None, None), |Failure { error, hint }| (Some(error), hint));
    ProbeRecord {
        schema_version: PROBE_SCHEMA_VERSION,
        probe_id: probe.probe_id.clone(),
        code: probe.code.clone(),
        probe: probe.probe.name.to_owned(),
        options: probe.options.to_json(),
        model: plan.models[probe.model].reference.clone(),
        task: probe.task.clone(),
        trial: probe.trial.map(|trial| plan.trials[trial].key.clone()),
        items,
        status,
        error,
        hint,
        wall_s,
        columns: probe.probe.columns.iter().map(|column| column.name.to_owned()).collect(),
        rows,
    }
}
