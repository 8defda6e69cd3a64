//! Trials whose threshold is found before they run: a rule of free count that shall achieve a reduction, task by task.

use std::collections::BTreeMap;

use records::schema::Calibration;
use reduction_strategies::Count;
use reduction_strategies::options::{OptionKind, OptionValue};
use reduction_strategies::registry::Strategy;

use super::{PlannedTrial, ids, matching};
use crate::config::{Catalog, Experiment, ModelFacts, PlannedTask};

/// The word in place of the threshold's value wherever a trial is named, because the value differs from task to task.
const CALIBRATED: &str = "calibrated";

/// A threshold that is to be found.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Stable hash of everything that can change what is found.
    pub id: String,
    /// The option.
    pub option: &'static str,
    /// Its smallest and largest value.
    pub bounds: (f64, f64),
    /// FLOPs reduction to be achieved, 0 to 1.
    pub target: f64,
}

/// A trial of each task, with the threshold by which it achieves `target` there as far as a run has found it.
pub(super) fn each_task(
    experiment: &Experiment,
    catalog: &dyn Catalog,
    trial: &PlannedTrial,
    model: &ModelFacts,
    target: f64,
) -> Vec<PlannedTrial> {
    let Some((option, bounds)) = threshold(&trial.strategy) else {
        unreachable!("the configuration calibrates rules that have a threshold")
    };
    let one = |task: &PlannedTask| {
        let mut own = PlannedTrial { task: Some(task.name.clone()), ..trial.clone() };
        own.key.flops_reduction_asked = Some(target);
        own.key.strategy_params = masked(&own.key.strategy_params, option);
        if !matching::runs(experiment, &own, task) {
            return own;
        }
        let id = ids::calibration_id(&own, (model, task), experiment.upstream_batch_size, option);
        if let Some(found) = catalog.calibration(&id) {
            own.strategy = with_threshold(&own.strategy, &found);
            own.key.calibration = Some(found);
        }
        own.calibrate = Some(Request { id, option, bounds, target });
        own
    };
    experiment.tasks.iter().map(one).collect()
}

/// The option that decides how many tokens are kept, and its bounds.
fn threshold(strategy: &Strategy) -> Option<(&'static str, (f64, f64))> {
    let Count::Free { threshold } = strategy.rule().count() else { return None };
    let info = strategy.registration.options.iter().find(|info| Some(info.name) == threshold)?;
    let OptionKind::Number { min, max } = info.kind else { return None };
    Some((info.name, (min, max)))
}

/// The strategy with a threshold in its place.
fn with_threshold(strategy: &Strategy, found: &Calibration) -> Strategy {
    let set = strategy.with_option(&found.option, OptionValue::Number(found.value));
    set.unwrap_or_else(|_| unreachable!("a run finds thresholds within their bounds"))
}

/// Options as compact JSON, with a word in place of the threshold.
fn masked(options: &str, threshold: &str) -> String {
    let mut all: BTreeMap<String, serde_json::Value> = serde_json::from_str(options).unwrap_or_default();
    all.insert(threshold.to_owned(), CALIBRATED.into());
    serde_json::to_string(&all).unwrap_or_else(|_| unreachable!("option values are plain scalars"))
}

impl PlannedTrial {
    /// The threshold that a run must find before this trial can run.
    pub fn uncalibrated(&self) -> Option<&Request> {
        self.calibrate.as_ref().filter(|_| self.key.calibration.is_none())
    }

    /// The same with a value of its threshold; for a trial that [`PlannedTrial::uncalibrated`] speaks of.
    pub(crate) fn at_threshold(&self, option: &str, value: f64) -> Self {
        let found = Calibration { option: option.to_owned(), value, achieved: 0.0, items: 0 };
        Self { strategy: with_threshold(&self.strategy, &found), ..self.clone() }
    }
}
