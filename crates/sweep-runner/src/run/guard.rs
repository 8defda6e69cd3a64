//! The guards of every protocol that an experiment uses, before its cells run.

use evaluation::guards::{self, GuardOutcome};
use evaluation::tasks::{Task, TaskKind};
use evaluation::{EvaluationError, Protocol, Reduction, Setup};
use ssm_model::LanguageModel;

use super::cell::{protocol, reduction};
use super::{RunError, Tasks};
use crate::config::Experiment;
use crate::library::Library;
use crate::plan::Plan;
use crate::record::guards::{ERROR, GuardRow};

/// Guards the strategies of one model, each at the lowest keep ratio asked of it; known rows are not run again.
pub(super) fn run(
    experiment: &Experiment,
    plan: &Plan,
    model_index: usize,
    model: &LanguageModel,
    library: &Library,
    tasks: &mut Tasks,
    rows: &mut Vec<GuardRow>,
) -> Result<(), RunError> {
    let reference = &plan.models[model_index].reference;
    for facts in &plan.tasks {
        tasks.get(library, reference, &facts.name, experiment.limit)?;
    }
    let guarded: Vec<&Task> = plan.tasks.iter().filter_map(|facts| tasks.loaded(reference, &facts.name)).collect();
    for (guard_id, trial) in plan.guarded(model_index) {
        if rows.iter().any(|row| row.guard_id == guard_id) {
            continue;
        }
        let (protocol, reduction) = (protocol(experiment, &trial.key.protocol), reduction(trial));
        let row = |guard: &str, passed, measured, checked, meaning: &str| GuardRow {
            guard_id: guard_id.clone(),
            model: reference.clone(),
            protocol: trial.key.protocol.clone(),
            strategy: trial.key.strategy.clone(),
            strategy_params: trial.key.strategy_params.clone(),
            keep_ratio: trial.key.keep_ratio,
            guard: guard.to_owned(),
            passed,
            measured,
            checked,
            meaning: meaning.to_owned(),
        };
        let causal = trial.strategy.is_causal();
        let outcomes = match outcomes(model, &guarded, protocol, &reduction, causal) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // The cells of this strategy will record the error too; the others go on.
                rows.push(row(ERROR, false, 0.0, 0, &error.to_string()));
                continue;
            }
        };
        rows.extend(["oracle", "identity", "alone", "causal"].into_iter().filter_map(|guard| {
            let own: Vec<&GuardOutcome> = outcomes.iter().filter(|outcome| outcome.guard == guard).collect();
            let checked: usize = own.iter().map(|outcome| outcome.checked).sum();
            let right: f64 = own.iter().map(|outcome| outcome.measured * outcome.checked as f64).sum();
            let first = own.first()?;
            let measured = if checked == 0 { 1.0 } else { right / checked as f64 };
            Some(row(guard, own.iter().all(|outcome| outcome.passed), measured, checked, first.meaning))
        }));
    }
    Ok(())
}

/// All guards of one reduction over some tasks.
fn outcomes(
    model: &LanguageModel,
    tasks: &[&Task],
    protocol: Protocol,
    reduction: &Reduction,
    causal: bool,
) -> Result<Vec<GuardOutcome>, EvaluationError> {
    let mut outcomes = Vec::new();
    // Which rows are read depends on the task. Whether values change without a reduction, and what an item shares with
    // others, does not: one task of short items is enough for these costlier guards.
    let short = tasks.iter().position(|task| task.kind != TaskKind::RunningText);
    for (index, task) in tasks.iter().enumerate() {
        let items = |count: usize| &task.items[..count.min(task.items.len())];
        let setup = |count| Setup { model, kind: task.kind, items: items(count), protocol, reduction };
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
