//! Thresholds of rules of free count, found before the run: bisection with evaluations on the items of the split `tune`.

use std::thread;
use std::time::Duration;

use evaluation::Layout;
use evaluation::tasks::Split;
use records::schema::Calibration;
use ssm_model::LanguageModel;

use super::batch::BatchRows;
use super::cell::{reduction, scoring};
use super::{RunError, RunOptions};
use crate::config::{Experiment, ItemChoice};
use crate::library::Library;
use crate::plan::{ExperimentPlan, PlannedTrial, Request, TOLERANCE};
use crate::record::calibrations::CalibrationRecord;
use crate::record::lease::Taken;
use crate::record::store::{Store, io};
use crate::say::say;

/// Evaluations of one search at most, both ends of the range included: an interval is then a millionth of the range.
const MOST_TRIES: usize = 22;

/// A search ends early at this distance from the target: a tenth of what is tolerated, since held-out items differ anyway.
const CLOSE: f64 = TOLERANCE / 10.0;

/// A reduction that no threshold achieves on the items of `tune`, up to half a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreached {
    /// The trial and the task, in words.
    pub(super) place: String,
    /// The reduction that was asked for, 0 to 1.
    pub(super) target: f64,
    /// The option and its bounds.
    pub(super) option: &'static str,
    pub(super) bounds: (f64, f64),
    /// Number of items.
    pub(super) items: usize,
    /// Every value that was tried, with the reduction that it achieved.
    pub(super) tried: Vec<(f64, f64)>,
}

/// Finds the threshold of every trial of `plan` that lacks one and tells `library`: a plan that is built again then has them. What
/// earlier runs into `folder` found is taken from there; of several processes one searches for each.
///
/// # Errors
/// As [`super::run`], or a reduction that no threshold achieves.
pub fn calibrate(
    experiment: &Experiment,
    plan: &ExperimentPlan,
    library: &Library,
    folder: &std::path::Path,
    options: &RunOptions,
) -> Result<(), RunError> {
    if plan.cells.iter().all(|cell| plan.trial_of(cell).uncalibrated().is_none()) {
        return Ok(());
    }
    let store = Store::open(folder, plan, options.consent)?;
    let mut unreached = Vec::new();
    // One model at a time, as in the run.
    for (index, facts) in plan.models.iter().enumerate() {
        let mut model = None;
        for cell in plan.cells.iter().filter(|cell| plan.trial_of(cell).model == index) {
            let trial = plan.trial_of(cell);
            let Some(request) = trial.uncalibrated() else { continue };
            let place = format!("{} on {}", trial.describe(), cell.task);
            let known = || store.calibration(&request.id, &trial.code, options.consent.keep_other_code);
            let record = loop {
                if let Some(interrupt) = options.stop.requested() {
                    return Err(RunError::Interrupted(interrupt));
                }
                if let Some(record) = known()? {
                    break Some(record);
                }
                let leases = store.leases();
                let taken = leases.take(&format!("calibration-{}", request.id), &format!("calibrating {place}"));
                let Taken::Mine(_lease) = taken.map_err(|error| io("write", leases.folder(), error))? else {
                    thread::sleep(Duration::from_millis(200));
                    continue;
                };
                // It may have been found between the look and the lease.
                if let Some(record) = known()? {
                    break Some(record);
                }
                let model = match &model {
                    Some(model) => model,
                    None => model.insert(library.load_model(&facts.reference, &options.placement)?),
                };
                let search = Search { experiment, library, options, model, trial, request };
                match search.run(&cell.task, &place)? {
                    Ok(record) => {
                        store.write_calibration(&request.id, &record)?;
                        break Some(record);
                    }
                    Err(missed) => {
                        unreached.push(missed);
                        break None;
                    }
                }
            };
            if let Some(record) = record {
                library.learn(&request.id, record.found);
            }
        }
    }
    if unreached.is_empty() { Ok(()) } else { Err(RunError::Unreached(unreached)) }
}

/// One threshold to be found.
struct Search<'a> {
    experiment: &'a Experiment,
    library: &'a Library,
    options: &'a RunOptions,
    model: &'a LanguageModel,
    trial: &'a PlannedTrial,
    request: &'a Request,
}

impl Search<'_> {
    fn run(&self, task: &str, place: &str) -> Result<Result<CalibrationRecord, Unreached>, RunError> {
        let planned = self.experiment.tasks.iter().find(|planned| planned.name == task);
        let planned = planned.unwrap_or_else(|| unreachable!("cells are of the experiment's tasks"));
        let choice = ItemChoice { split: Split::Tune, ..self.experiment.items() };
        let reference = &self.trial.key.model;
        let task = self.library.load_task(reference, &planned.reference, choice)?;
        let Request { option, bounds, target, .. } = *self.request;
        let missed =
            |tried| Unreached { place: place.to_owned(), target, option, bounds, items: task.items.len(), tried };
        if task.items.is_empty() {
            return Ok(Err(missed(Vec::new())));
        }
        let layout = Layout::new(task.kind, &task.items, scoring(self.experiment, &self.trial.key.protocol));
        let rows = BatchRows::new(self.model.placement().device.is_cpu());
        let mut tried = Vec::new();
        let found = bisect(bounds, target, |value| {
            if let Some(interrupt) = self.options.stop.requested() {
                return Err(RunError::Interrupted(interrupt));
            }
            let reduction = reduction(&self.trial.at_threshold(option, value));
            let (partial, _) = rows.evaluate(self.model, &layout, layout.whole(), &reduction, 0)?;
            let achieved = layout.evaluation([partial]).work.flops_reduction(self.model.config().n_layer());
            tried.push((value, achieved));
            Ok(achieved)
        })?;
        let Some((value, achieved)) = found else { return Ok(Err(missed(tried))) };
        say(&format!(
            "{place}: {option} {value} achieves {:.2} % on {} items of `tune`",
            achieved * 100.0,
            task.items.len()
        ));
        let found = Calibration { option: option.to_owned(), value, achieved, items: task.items.len() };
        Ok(Ok(CalibrationRecord { trial: place.to_owned(), code: self.trial.code.clone(), found, tried }))
    }
}

/// The value within `bounds` whose reduction is nearest to `target`, with that reduction; none where it is further than
/// [`TOLERANCE`] away. Reductions rise or fall with the value; where they do not, the search still ends, at the nearest one it met.
fn bisect<E>(
    bounds: (f64, f64),
    target: f64,
    mut achieved: impl FnMut(f64) -> Result<f64, E>,
) -> Result<Option<(f64, f64)>, E> {
    let (mut low, mut high) = bounds;
    let ends = [(low, achieved(low)?), (high, achieved(high)?)];
    let rises = ends[1].1 > ends[0].1;
    let distance = |(_, reduction): (f64, f64)| (reduction - target).abs();
    let mut best = if distance(ends[1]) < distance(ends[0]) { ends[1] } else { ends[0] };
    for _ in ends.len()..MOST_TRIES {
        if distance(best) <= CLOSE || (target - ends[0].1) * (target - ends[1].1) > 0.0 {
            break;
        }
        let middle = f64::midpoint(low, high);
        let next = (middle, achieved(middle)?);
        if distance(next) < distance(best) {
            best = next;
        }
        if (next.1 < target) == rises {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok((distance(best) <= TOLERANCE).then_some(best))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn find(bounds: (f64, f64), target: f64, achieved: impl Fn(f64) -> f64) -> (Option<(f64, f64)>, usize) {
        let mut tries = 0;
        let found = bisect::<Infallible>(bounds, target, |value| {
            tries += 1;
            Ok(achieved(value))
        });
        (found.unwrap(), tries)
    }

    #[test]
    fn rising_and_falling_reductions_are_found() {
        let (found, tries) = find((0.0, 10.0), 0.2, |value| value / 20.0);
        let (value, achieved) = found.unwrap();
        assert!((achieved - 0.2).abs() <= CLOSE && (value - 4.0).abs() < 0.02 && tries < 12, "{value} after {tries}");
        let (found, _) = find((0.0, 1.0), 0.3, |value| 0.5 * (1.0 - value));
        assert!((found.unwrap().0 - 0.4).abs() < 0.002);
    }

    #[test]
    fn ends_count_and_what_is_beyond_them_is_not_searched_for() {
        assert_eq!(find((0.0, 1.0), 0.0, |value| value), (Some((0.0, 0.0)), 2));
        assert_eq!(find((0.0, 1.0), 0.502, |value| value / 2.0), (Some((1.0, 0.5)), 2), "within half a point");
        assert_eq!(find((0.0, 1.0), 0.6, |value| value / 2.0), (None, 2));
        assert_eq!(find((0.0, 1.0), 0.1, |_| 0.3), (None, 2), "nothing changes");
    }

    #[test]
    fn steps_that_jump_over_the_target_are_refused() {
        let (found, tries) = find((0.0, 1.0), 0.2, |value| if value < 0.3 { 0.1 } else { 0.3 });
        assert_eq!((found, tries), (None, MOST_TRIES));
    }
}
