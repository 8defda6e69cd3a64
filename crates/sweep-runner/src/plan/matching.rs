//! Which cells run: what a protocol refuses, and which cells `exclude` and `zip` speak of.
//!
//! `exclude` and `zip` read a key that a trial does not have (an option of another strategy, a ratio of `dense`) in opposite ways:
//! in `exclude` it never matches, so that nothing is lost by accident; in `zip` it does not restrict, so that controls
//! and the baseline stay in.

use evaluation::protocol::{self, Refusal};

use super::{PlannedTrial, Reason};
use crate::config::{Amount, Condition, Experiment, PlannedTask, Scoring, Selector, same_value};

const LEAKS: &str = "running text scored per token after a reduction leaks the future: later tokens decide which earlier ones \
                     stay. Use protocol `context`, which scores the second half of a text after its reduced first half, or \
                     `causal` with a causal strategy";

const NOT_CAUSAL: &str = "protocol `causal` takes strategies that decide each token from tokens up to it (block_causal, local_merge \
                          with decide: online); this one looks at later tokens. Use `aligned` and read its coverage, or `context`";

/// Cells that would report a number which means something else than it says.
pub(super) fn refusal(trial: &PlannedTrial, task: &PlannedTask) -> Option<Reason> {
    let (reduces, running_text) = (!trial.key.sites.is_empty(), task.kind == Scoring::RunningText);
    let refusal = protocol::find(&trial.key.protocol)?.refuses(running_text, reduces, trial.strategy.is_causal())?;
    Some(Reason::Nature(match refusal {
        Refusal::NotCausal => NOT_CAUSAL,
        Refusal::LeaksFuture => LEAKS,
    }))
}

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
        && refusal(trial, task).is_none()
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
            _ => None,
        },
        Condition::AchievedReduction(values) => match trial.amount? {
            Amount::AchievedReduction(asked) | Amount::Calibrated(asked) => Some(values.contains(&asked)),
            _ => None,
        },
        Condition::KeepRatio(values) => match trial.amount? {
            Amount::KeepRatio(asked) => Some(values.contains(&asked)),
            _ => None,
        },
        Condition::Seed(values) => trial.strategy.registration.seeded.then(|| values.contains(&key.seed)),
        Condition::NamedSites(sites) => trial.amount.map(|_| key.schedule == sites.to_string()),
        Condition::Sites(sites) => trial.amount.map(|_| key.sites == *sites),
    }
}
