//! Groups whose cells run one after the other: the reference that sharing is compared with.

use std::time::{Duration, Instant};

use evaluation::{EvaluationError, Partial};
use records::schema::Failure;

use super::batch::BatchRows;
use super::recorder::{GroupOutcome, Recorder};
use super::turn::Loaded;
use super::{RunError, error, lost, memory};

/// Runs the groups of one model that nobody else has. Each is recorded as soon as its last cell has ended.
pub(super) fn run(loaded: &Loaded<'_>, recorder: &mut Recorder<'_>) -> Result<(), RunError> {
    let ledger = recorder.ledger;
    let device = &loaded.model.placement().device;
    let plans = ledger.plan.record_plans.traced();
    let batch = BatchRows::new(device.is_cpu());
    for group in &loaded.groups {
        if recorder.options.stop.requested().is_some() {
            return Ok(());
        }
        let Some(held) = ledger.hold(*group)? else { continue };
        memory::reset_peak();
        let cohort = &ledger.cohorts[group.cohort];
        let layout = &loaded.layouts[&group.cohort];
        let mut outcomes = Vec::with_capacity(held.cells.len());
        for (index, cell) in held.cells.iter().enumerate() {
            if recorder.options.stop.requested().is_some() {
                return Ok(());
            }
            let (span, reduction) = (cohort.spans[group.index].clone(), loaded.reduction(*cell));
            let once = || batch.evaluate(loaded.model, layout, span.clone(), &reduction, plans);
            let Some(outcome) = timed(once, recorder.options.repeats) else { return Ok(()) };
            outcomes.push(outcome);
            lost::check(device, outcomes[index..].iter().map(|outcome| outcome.result.is_err()))?;
            recorder.progress.underway((index + 1) as f64 * cohort.share(group.index));
        }
        recorder.finish(held, outcomes, memory::peak_bytes_of(device), None, layout, loaded.tasks)?;
    }
    Ok(())
}

/// Runs some units of a cell; with `repeats`, once untimed and then so many times. Nothing where it was told to stop.
///
/// The time is that of [`evaluation::evaluate_span`], which counts what a rule costs and not what its record costs.
fn timed(
    once: impl Fn() -> Result<(Partial, Duration), EvaluationError>,
    repeats: Option<usize>,
) -> Option<GroupOutcome> {
    let mut outcome: Option<Result<Partial, Failure>> = None;
    let mut seconds = Vec::new();
    for run in 0..=repeats.unwrap_or(0) {
        let started = Instant::now();
        let result = once();
        let took = result.as_ref().map_or_else(|_| started.elapsed(), |(_, took)| *took);
        // What is loaded or compiled at its first use does not count.
        if run > 0 || repeats.is_none() {
            seconds.push(took.as_secs_f64());
        }
        if result.as_ref().is_err_and(EvaluationError::is_stop) {
            return None;
        }
        let result = result.map(|(partial, _)| partial).map_err(|error| error::failure(&error));
        if outcome.as_ref().is_some_and(|before| *before != result) {
            outcome = Some(Err(Failure {
                error: "the cell gave other results when it was repeated".to_owned(),
                hint: Some("report it with the experiment: the same input should give the same bits".to_owned()),
            }));
            break;
        }
        let failed = result.is_err();
        outcome = Some(result);
        if failed {
            break;
        }
    }
    outcome.map(|result| GroupOutcome { result, seconds })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_first_of_several_runs_is_not_timed() {
        for (repeats, runs, timed_runs) in [(None, 1, 1), (Some(1), 2, 1), (Some(3), 4, 3)] {
            let count = Cell::new(0);
            let once = || {
                count.set(count.get() + 1);
                Ok((Partial::default(), Duration::from_secs(count.get())))
            };
            let outcome = timed(once, repeats).unwrap();
            assert_eq!((count.get(), outcome.seconds.len()), (runs, timed_runs));
            assert_eq!(
                outcome.seconds.last().map(|last| last.to_bits()),
                Some((runs as f64).to_bits()),
                "its own time"
            );
            assert_eq!(outcome.result.unwrap(), Partial::default());
        }
    }

    #[test]
    fn a_cell_that_fails_is_not_repeated() {
        let count = Cell::new(0);
        let once = || {
            count.set(count.get() + 1);
            Err(EvaluationError::NotCausal)
        };
        assert!(timed(once, Some(3)).unwrap().result.is_err());
        assert_eq!(count.get(), 1);
    }
}
