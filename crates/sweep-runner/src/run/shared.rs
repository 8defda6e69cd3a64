//! Groups whose cells share work: the executor runs them one after the other, all cells of a group at once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use evaluation::executor::{CellRequest, Event, ExecutorSettings, evaluate_jobs};

use super::ledger::HeldGroup;
use super::recorder::{GroupOutcome, Recorder};
use super::turn::Loaded;
use super::{RunError, error, lost, memory};
use crate::record::store::StoreError;

/// Rows of a packed call on a GPU, which they fill; fewer where its memory turns out not to hold them.
pub(super) const GPU_ROWS: usize = 32_768;
/// Bytes for activations from which two workers share a GPU: each has half, and long documents must still fit.
const TWO_WORKERS_FROM: u64 = 16 << 30;

/// Rows of a packed call on a CPU: many enough to read weights once for many rows, few enough for a core's caches
/// (docs/performance.md).
const MAX_TOKENS: usize = 1024;

/// Runs the groups of one model that nobody else has. Each is recorded as soon as it has ended.
///
/// The time of a record is an attribution: the time of each micro-batch is divided among the cells by the rows executed
/// for them, where a row executed for several cells counts in equal parts for each.
pub(super) fn run(loaded: &Loaded<'_>, recorder: &mut Recorder<'_>) -> Result<(), RunError> {
    memory::reset_peak();
    let ledger = recorder.ledger;
    let options = recorder.options;
    let device = &options.placement.device;
    let memory_bytes = options.memory_bytes.unwrap_or_else(|| memory::default_budget(device));
    let settings = ExecutorSettings {
        max_tokens: if device.is_cpu() { MAX_TOKENS } else { GPU_ROWS },
        recorded_plans: ledger.plan.record_plans.traced(),
        memory_bytes,
        // One worker per core: each computes for itself, and none waits for another one inside an operation. A GPU has one queue of
        // work, which a second worker fills while the first one plans on the host.
        workers: if device.is_cpu() {
            rayon::current_num_threads()
        } else if memory_bytes >= TWO_WORKERS_FROM {
            2
        } else {
            1
        },
    };
    // Groups that were begun, by the number that the executor gives them, and what kept a worker from beginning another one.
    let held_groups: Mutex<BTreeMap<usize, HeldGroup>> = Mutex::default();
    let refused: Mutex<Option<StoreError>> = Mutex::default();
    let mut groups = loaded.groups.iter();
    let mut begun = 0;
    let mut next = || {
        for group in groups.by_ref() {
            let held = match ledger.hold(*group) {
                Ok(Some(held)) => held,
                Ok(None) => continue,
                Err(error) => {
                    *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return None;
                }
            };
            let span = &ledger.cohorts[group.cohort].spans[group.index];
            let request = |cell: &usize| CellRequest {
                layout: &loaded.layouts[&group.cohort],
                span: span.clone(),
                reduction: loaded.reduction(*cell),
            };
            let requests = held.cells.iter().map(request).collect();
            held_groups.lock().unwrap_or_else(PoisonError::into_inner).insert(begun, held);
            begun += 1;
            return Some(requests);
        }
        None
    };
    let mut underway: BTreeMap<usize, f64> = BTreeMap::new();
    let mut stopped = None;
    let mut observe = |event| {
        let mut held_groups = held_groups.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = match event {
            Event::Progress { job, share } => {
                let held = &held_groups[&job];
                let cells = ledger.cohorts[held.group.cohort].share(held.group.index) * held.cells.len() as f64;
                underway.insert(job, share * cells);
                recorder.progress.underway(underway.values().sum());
                Ok(())
            }
            Event::Done { job, cells, sharing } => {
                underway.remove(&job);
                let Some(held) = held_groups.remove(&job) else { return ControlFlow::Continue(()) };
                // Workers go on to the next group meanwhile.
                drop(held_groups);
                let layout = &loaded.layouts[&held.group.cohort];
                let outcome = |cell: evaluation::executor::CellOutcome| GroupOutcome {
                    result: cell.result.map_err(|error| error::failure(&error)),
                    seconds: vec![cell.seconds],
                };
                let outcomes: Vec<GroupOutcome> = cells.into_iter().map(outcome).collect();
                lost::check(device, outcomes.iter().map(|outcome| outcome.result.is_err())).and_then(|()| {
                    let peak = memory::peak_bytes_of(device);
                    recorder.finish(held, outcomes, peak, Some(sharing), layout, loaded.tasks)
                })
            }
        };
        match recorded {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                stopped = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    let stop = || options.stop.requested().is_some();
    evaluate_jobs(loaded.model, settings, &mut next, &stop, &mut observe)?;
    let refused = refused.into_inner().unwrap_or_else(PoisonError::into_inner);
    stopped.or(refused.map(RunError::from)).map_or(Ok(()), Err)
}
