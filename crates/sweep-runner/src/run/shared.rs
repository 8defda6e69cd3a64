//! All missing cells of one model together: the sharing executor runs them and hands back one evaluation per cell.

use std::ops::ControlFlow;
use std::time::Duration;

use evaluation::executor::{CellRequest, Event, ExecutorSettings, Sharing, evaluate_cells};
use evaluation::tasks::Task;

use super::cell::{self, Context, RECORDED_PLANS};
use super::{Recorder, RunError, memory};
use crate::plan::Cell;

/// Rows of a packed call on a CPU: many enough to read weights once for many rows, few enough for a core's caches
/// (docs/performance.md).
const MAX_TOKENS: usize = 1024;

/// Runs `work`, the missing cells of one model with their tasks. Each cell is recorded as soon as its last item has ended.
///
/// The time of a record is an attribution: the time of each micro-batch is divided among the cells by the rows executed
/// for them, where a row executed for several cells counts in equal parts for each.
pub(super) fn run(
    context: Context<'_>,
    work: &[(&Cell, &Task)],
    recorder: &mut Recorder<'_>,
) -> Result<Sharing, RunError> {
    memory::reset_peak();
    let plan = recorder.plan;
    let request = |(cell, task): &(&Cell, &'_ Task)| {
        let trial = plan.trial_of(cell);
        (cell::protocol(context.experiment, &trial.key.protocol), cell::reduction(trial), task.kind)
    };
    let requests: Vec<CellRequest<'_>> = work
        .iter()
        .map(|pair| {
            let (protocol, reduction, kind) = request(pair);
            CellRequest { kind, items: &pair.1.items, protocol, reduction }
        })
        .collect();
    let settings = ExecutorSettings {
        max_tokens: MAX_TOKENS,
        recorded_plans: RECORDED_PLANS,
        memory_bytes: recorder.options.memory_bytes.unwrap_or_else(memory::default_budget),
        // One worker per core: each computes for itself, and none waits for another one inside an operation.
        workers: rayon::current_num_threads(),
    };
    let mut stopped = None;
    let sharing = evaluate_cells(context.model, &requests, settings, &mut |event| {
        let recorded = match event {
            Event::Progress { done, total } => {
                recorder.progress.advance(done as f64 / total.max(1) as f64);
                Ok(())
            }
            Event::Done(outcome) => {
                let (cell, task) = work[outcome.cell];
                let result = outcome.result.as_ref().map_err(std::convert::AsRef::as_ref);
                let record = cell::record(context, plan.trial_of(cell), cell, task, result, outcome.seconds);
                recorder.record(cell, &record, Duration::from_secs_f64(outcome.seconds))
            }
        };
        match recorded {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                stopped = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    stopped.map_or(Ok(sharing), Err)
}
