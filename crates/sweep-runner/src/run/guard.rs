//! The guards of every protocol that an experiment uses, before its cells run. One process runs those of a model.

use evaluation::guards::{self, GuardOutcome};
use evaluation::tasks::{Task, TaskKind};
use evaluation::{EvaluationError, Reduction, Scoring, Setup};
use rayon::prelude::*;
use records::code::Code;
use records::guards::{ERROR, GuardRow};
use records::schema::Failure;
use ssm_model::LanguageModel;

use super::cell::{reduction, scoring};
use super::recorder::Recorder;
use super::tasks::Tasks;
use super::{RunError, error};
use crate::config::Experiment;
use crate::plan::{ExperimentPlan, PlannedTrial};
use crate::record::lease::{Lease, Taken};
use crate::record::store::{Store, StoreError, io};

/// The lease of the file with the rows of all models, for as long as it takes to write it.
const FILE: &str = "guards";

/// Shares are rounded to twelve digits.
const DIGITS: f64 = 1e12;

/// Outcomes of the guards of a plan.
pub(super) struct Guards<'a> {
    store: &'a Store,
    plan: &'a ExperimentPlan,
    /// Ids of the guards with this program's code, by model.
    wanted: Vec<Vec<(String, Code)>>,
    /// Rows of other code are as good.
    keep_other_code: bool,
    rows: Vec<GuardRow>,
}

impl<'a> Guards<'a> {
    /// What earlier runs found. Rows of other plans are dropped, and so are those that an error left: what went wrong may have been
    /// the machine.
    pub(super) fn read(store: &'a Store, plan: &'a ExperimentPlan, keep_other_code: bool) -> Result<Self, StoreError> {
        let ids =
            |model| plan.guarded(model).into_iter().map(|(guard_id, trial)| (guard_id, trial.code.clone())).collect();
        let wanted = (0..plan.models.len()).map(ids).collect();
        let mut guards = Self { store, plan, wanted, keep_other_code, rows: Vec::new() };
        guards.update(Vec::new(), false)?;
        Ok(guards)
    }

    /// Asks for no guards of a model.
    pub(super) fn drop_model(&mut self, model: usize) {
        self.wanted[model].clear();
    }

    /// Whether a model has guards that were not run yet.
    pub(super) fn are_missing(&self, model: usize) -> bool {
        self.wanted[model].iter().any(|(guard_id, _)| !self.know(guard_id))
    }

    /// Models that have.
    pub(super) fn missing_models(&self) -> impl Iterator<Item = usize> {
        (0..self.wanted.len()).filter(|model| self.are_missing(*model))
    }

    /// Whether nobody runs the guards of a model.
    pub(super) fn are_free(&self, model: usize) -> Result<bool, StoreError> {
        let leases = self.store.leases();
        let holder = leases.holder(&self.lease(model)).map_err(|error| io("read", leases.folder(), error))?;
        Ok(holder.is_none())
    }

    /// Looks at what other processes found.
    pub(super) fn refresh(&mut self) -> Result<(), StoreError> {
        // A damaged file is moved away by who writes the next one.
        let rows = self.store.look_at_guards()?.unwrap_or_default();
        self.keep(rows, true);
        Ok(())
    }

    fn lease(&self, model: usize) -> String {
        let facts = &self.plan.models[model];
        format!("{FILE}-{}-{}", facts.weights_digest, self.plan.setting.device)
    }

    fn know(&self, guard_id: &str) -> bool {
        self.rows.iter().any(|row| row.guard_id == guard_id)
    }

    /// Takes what this plan wants, in its order.
    fn keep(&mut self, rows: Vec<GuardRow>, with_errors: bool) {
        let is_of = |row: &GuardRow, (guard_id, code): &(String, Code)| {
            *guard_id == row.guard_id && (self.keep_other_code || *code == row.code)
        };
        let place = |row: &GuardRow| self.wanted.iter().flatten().position(|wanted| is_of(row, wanted));
        let mut placed: Vec<(usize, GuardRow)> = rows
            .into_iter()
            .filter(|row| with_errors || row.guard != ERROR)
            .filter_map(|row| Some((place(&row)?, row)))
            .collect();
        placed.sort_by_key(|(place, _)| *place);
        self.rows = placed.into_iter().map(|(_, row)| row).collect();
    }

    /// Adds rows to the file, which other processes may add to as well.
    fn update(&mut self, added: Vec<GuardRow>, with_errors: bool) -> Result<(), StoreError> {
        let _lease = self.store.hold(FILE, "the file of the guards")?;
        let mut rows = self.store.read_guards()?;
        rows.retain(|row| added.iter().all(|new| new.guard_id != row.guard_id));
        rows.extend(added);
        self.keep(rows, with_errors);
        self.store.write_guards(&self.rows)
    }
}

/// Guards the strategies of one model, each at the lowest keep ratio asked of it; known rows are not run again, and neither is
/// anything while another process is at it.
pub(super) fn run(
    experiment: &Experiment,
    model_index: usize,
    model: &LanguageModel,
    recorder: &Recorder<'_>,
    tasks: &mut Tasks,
    guards: &mut Guards<'_>,
) -> Result<(), RunError> {
    if !guards.are_missing(model_index) {
        return Ok(());
    }
    let plan = guards.plan;
    let reference = &plan.models[model_index].reference;
    let leases = guards.store.leases();
    let taken = leases.take(&guards.lease(model_index), &format!("{reference} guards"));
    let Taken::Mine(lease) = taken.map_err(|error| io("write", leases.folder(), error))? else {
        return Ok(());
    };
    guards.refresh()?;
    for facts in &plan.tasks {
        match tasks.get(recorder.library, reference, &facts.name, experiment) {
            // The cells of this task say so; guards look at the others.
            Err(error) if error.is_of_task() => {}
            other => drop(other?),
        }
    }
    let guarded: Vec<&Task> = plan.tasks.iter().filter_map(|facts| tasks.loaded(reference, &facts.name)).collect();
    let unknown: Vec<(String, &PlannedTrial)> =
        plan.guarded(model_index).into_iter().filter(|(guard_id, _)| !guards.know(guard_id)).collect();
    let stop = &recorder.options.stop;
    let find = |(guard_id, trial): &(String, &PlannedTrial)| {
        if stop.requested().is_some() { Vec::new() } else { rows_of(experiment, guard_id, trial, model, &guarded) }
    };
    // The items are few: one trial cannot keep all cores busy.
    let rows = if model.placement().device.is_cpu() {
        unknown.par_iter().flat_map_iter(find).collect()
    } else {
        unknown.iter().flat_map(find).collect()
    };
    guards.update(rows, true)?;
    drop::<Lease>(lease);
    Ok(())
}

/// What the guards of one trial find.
fn rows_of(
    experiment: &Experiment,
    guard_id: &str,
    trial: &PlannedTrial,
    model: &LanguageModel,
    guarded: &[&Task],
) -> Vec<GuardRow> {
    let (scoring, reduction) = (scoring(experiment, &trial.key.protocol), reduction(trial));
    let row = |guard: &str, passed, measured, checked, meaning: &str| GuardRow {
        guard_id: guard_id.to_owned(),
        code: trial.code.clone(),
        model: trial.key.model.clone(),
        protocol: trial.key.protocol.clone(),
        strategy: trial.key.strategy.clone(),
        strategy_params: trial.key.strategy_params.clone(),
        keep_ratio: trial.key.keep_ratio,
        guard: guard.to_owned(),
        passed,
        // The file is read and written again by every process that adds to it: numbers of few digits stay what they are.
        measured: (f64::round(measured * DIGITS)) / DIGITS,
        checked,
        meaning: meaning.to_owned(),
        hint: None,
    };
    let outcomes = match outcomes(model, guarded, scoring, &reduction, trial.strategy.is_causal()) {
        Ok(outcomes) => outcomes,
        Err(error) if error.is_stop() => return Vec::new(),
        // The cells of this strategy will record the error too; the others go on.
        Err(error) => {
            let Failure { error, hint } = error::failure(&error);
            return vec![GuardRow { hint, ..row(ERROR, false, 0.0, 0, &error) }];
        }
    };
    let rows = ["oracle", "identity", "alone", "causal"].into_iter().filter_map(|guard| {
        let own: Vec<&GuardOutcome> = outcomes.iter().filter(|outcome| outcome.guard == guard).collect();
        let checked: usize = own.iter().map(|outcome| outcome.checked).sum();
        let right: f64 = own.iter().map(|outcome| outcome.measured * outcome.checked as f64).sum();
        let first = own.first()?;
        let measured = if checked == 0 { 1.0 } else { right / checked as f64 };
        Some(row(guard, own.iter().all(|outcome| outcome.passed), measured, checked, first.meaning))
    });
    rows.collect()
}

/// All guards of one reduction over some tasks.
fn outcomes(
    model: &LanguageModel,
    tasks: &[&Task],
    scoring: Scoring,
    reduction: &Reduction,
    causal: bool,
) -> Result<Vec<GuardOutcome>, EvaluationError> {
    let mut outcomes = Vec::new();
    // Which rows are read depends on the task. Whether values change without a reduction, and what an item shares with
    // others, does not: one task of short items is enough for these costlier guards.
    let short = tasks.iter().position(|task| task.kind != TaskKind::RunningText);
    for (index, task) in tasks.iter().enumerate() {
        let items = |count: usize| &task.items[..count.min(task.items.len())];
        let setup = |count| Setup { model, kind: task.kind, items: items(count), scoring, reduction };
        outcomes.push(guards::oracle(&setup(1))?);
        if short == Some(index) {
            outcomes.push(guards::identity(&setup(2))?);
            outcomes.push(guards::alone(&setup(2))?);
        }
        if index == 0 && causal {
            outcomes.push(guards::causal(model, items(1), reduction)?);
        }
    }
    Ok(outcomes)
}
