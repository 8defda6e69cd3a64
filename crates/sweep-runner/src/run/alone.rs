//! Groups whose cells run one after the other: the reference that sharing is compared with.

use std::time::Instant;

use evaluation::EvaluationError;

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
            let started = Instant::now();
            let (span, reduction) = (cohort.spans[group.index].clone(), loaded.reduction(*cell));
            let result = batch.evaluate(loaded.model, layout, span, &reduction, plans);
            if result.as_ref().is_err_and(EvaluationError::is_stop) {
                return Ok(());
            }
            let result = result.map_err(|error| error::failure(&error));
            outcomes.push(GroupOutcome { result, seconds: started.elapsed().as_secs_f64() });
            lost::check(device, outcomes[index..].iter().map(|outcome| outcome.result.is_err()))?;
            recorder.progress.underway((index + 1) as f64 * cohort.share(group.index));
        }
        recorder.finish(held, outcomes, memory::peak_bytes_of(device), None, layout, loaded.tasks)?;
    }
    Ok(())
}
