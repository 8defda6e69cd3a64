//! Which cells `exclude` and `zip` speak of.
//!
//! The two read a key that a trial does not have (an option of another strategy, a ratio of `dense`) in opposite ways:
//! in `exclude` it never matches, so that nothing is lost by accident; in `zip` it does not restrict, so that controls
//! and the baseline stay in.

use super::PlannedTrial;
use crate::config::{Amount, Condition, Experiment, PlannedTask, Selector, same_value};

/// Index of the first map of `exclude` that matches the cell.
pub(super) fn excluding(experiment: &Experiment, trial: &PlannedTrial, task: &PlannedTask) -> Option<usize> {
    experiment.exclude.iter().position(|selector| matches(selector, trial, task, false))
}

/// Whether `zip` is silent or lists the cell's combination.
pub(super) fn is_listed(experiment: &Experiment, trial: &PlannedTrial, task: &PlannedTask) -> bool {
    experiment.zip.is_empty() || experiment.zip.iter().any(|selector| matches(selector, trial, task, true))
}

/// For each trial, whether it has any cell left to run: only such trials take part in a sample.
pub(super) fn candidates(experiment: &Experiment, trials: &[PlannedTrial]) -> Vec<bool> {
    trials.iter().map(|trial| experiment.tasks.iter().any(|task| runs(experiment, trial, task))).collect()
}

/// Whether a trial runs a task, unless a sample leaves it out.
pub(super) fn runs(experiment: &Experiment, trial: &PlannedTrial, task: &PlannedTask) -> bool {
    trial.has_task(&task.name)
        && super::build::refusal(trial, task).is_none()
        && excluding(experiment, trial, task).is_none()
        && is_listed(experiment, trial, task)
}

/// The reason that is recorded for cells that `selector` excludes.
pub(super) fn reason(selector: &Selector) -> String {
    match &selector.reason {
        Some(reason) => format!("{reason} (line {}: {selector})", selector.line),
        None => format!("line {}: {selector}", selector.line),
    }
}

/// Whether all conditions hold; `absent` is what a condition says of a trial that has no such thing.
pub(super) fn matches(selector: &Selector, trial: &PlannedTrial, task: &PlannedTask, absent: bool) -> bool {
    selector.conditions.iter().all(|condition| holds(condition, trial, task).unwrap_or(absent))
}

/// Whether a condition holds; none where the trial has no such thing.
fn holds(condition: &Condition, trial: &PlannedTrial, task: &PlannedTask) -> Option<bool> {
    let key = &trial.key;
    match condition {
        Condition::Model(values) => Some(values.contains(&key.model)),
        Condition::Task(values) => Some(values.contains(&task.name)),
        Condition::Protocol(values) => Some(values.iter().any(|value| value.name == key.protocol)),
        Condition::Strategy(values) => Some(values.contains(&key.strategy)),
        Condition::Positions(values) => trial.positions.map(|positions| values.contains(&positions)),
        Condition::Option(name, values) => {
            let own = trial.strategy.options.get(name)?;
            Some(values.iter().any(|value| same_value(value, own)))
        }
        Condition::FlopsReduction(values) => match trial.amount? {
            Amount::FlopsReduction(asked) => Some(values.contains(&asked)),
            Amount::AchievedReduction(_) | Amount::KeepRatio(_) => None,
        },
        Condition::AchievedReduction(values) => match trial.amount? {
            Amount::AchievedReduction(asked) => Some(values.contains(&asked)),
            Amount::FlopsReduction(_) | Amount::KeepRatio(_) => None,
        },
        Condition::KeepRatio(values) => match trial.amount? {
            Amount::KeepRatio(asked) => Some(values.contains(&asked)),
            Amount::FlopsReduction(_) | Amount::AchievedReduction(_) => None,
        },
        Condition::Seed(values) => trial.strategy.registration.seeded.then(|| values.contains(&key.seed)),
        Condition::PaperSites => trial.amount.map(|_| key.schedule == "paper"),
        Condition::Sites(sites) => trial.amount.map(|_| key.sites == *sites),
    }
}
