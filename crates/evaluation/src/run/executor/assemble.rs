//! From lanes to cells: units are put together in the order of their layout, whatever order they ran in.

use std::sync::Arc;

use ssm_model::LanguageModel;

use super::catalogue::Lane;
use super::walk::{LaneOutcome, LaneResult};
use super::{CellOutcome, Job};
use crate::batch::batch;
use crate::error::EvaluationError;
use crate::run::located;
use crate::score::{Partial, Step, Work};

/// A cell whose lanes come in.
struct Pending {
    /// By unit, counted from the first one of the cell's stretch.
    lanes: Vec<Option<Result<LaneOutcome, Arc<EvaluationError>>>>,
    seconds: f64,
}

/// All cells of a job whose lanes come in.
pub(super) struct Assembly {
    recorded_plans: usize,
    pending: Vec<Pending>,
    missing: usize,
    total: usize,
}

impl Assembly {
    pub(super) fn new(job: &Job<'_>, recorded_plans: usize) -> Self {
        let lanes = |cell: usize| job.catalogue.stretch(cell).span.len();
        let pending = |cell| Pending { lanes: (0..lanes(cell)).map(|_| None).collect(), seconds: 0.0 };
        let total = (0..job.cells.len()).map(lanes).sum();
        Self { recorded_plans, pending: (0..job.cells.len()).map(pending).collect(), missing: total, total }
    }

    /// Share of the lanes that came in.
    pub(super) fn share(&self) -> f64 {
        (self.total - self.missing) as f64 / self.total.max(1) as f64
    }

    /// Takes a lane in.
    pub(super) fn add(&mut self, job: &Job<'_>, lane: Lane, result: LaneResult) {
        let pending = &mut self.pending[lane.cell];
        pending.seconds += result.share;
        pending.lanes[lane.unit - job.catalogue.stretch(lane.cell).span.start] = Some(result.result);
        self.missing -= 1;
    }

    /// Whether all lanes came in.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// All cells, in the order in which they were requested.
    pub(super) fn finish(self, model: &LanguageModel, job: &Job<'_>) -> Vec<CellOutcome> {
        let outcome = |(cell, pending): (usize, Pending)| {
            let failed = pending.lanes.iter().position(|lane| matches!(lane, Some(Err(_))));
            let lanes = pending.lanes.into_iter().flatten().collect::<Result<Vec<_>, _>>();
            let result = match (lanes, failed) {
                (Ok(lanes), _) => Ok(partial(job, cell, lanes, self.recorded_plans)),
                (Err(error), Some(unit)) => Err(where_it_arose(model, job, cell, unit, error)),
                (Err(error), None) => Err(error),
            };
            CellOutcome { result, seconds: pending.seconds }
        };
        self.pending.into_iter().enumerate().map(outcome).collect()
    }
}

/// The error of the unit of that index in the cell's stretch; for values that are no numbers, with where they arose.
fn where_it_arose(
    model: &LanguageModel,
    job: &Job<'_>,
    cell: usize,
    unit: usize,
    error: Arc<EvaluationError>,
) -> Arc<EvaluationError> {
    let stretch = job.catalogue.stretch(cell);
    let unit = &stretch.layout.units[stretch.span.start + unit];
    let located =
        batch(std::slice::from_ref(unit)).map(|batch| located(model, &batch, &job.cells[cell].reduction, &error));
    located.ok().flatten().map_or(error, Arc::new)
}

/// What a cell got, from its units in layout order.
fn partial(job: &Job<'_>, cell: usize, lanes: Vec<LaneOutcome>, recorded_plans: usize) -> Partial {
    let stretch = job.catalogue.stretch(cell);
    let mut partial = Partial::default();
    for (unit, lane) in stretch.layout.units[stretch.span.clone()].iter().zip(lanes) {
        let item = unit.item() as usize;
        partial.tokens.push((item, lane.tokens_in, lane.end.tokens_kept));
        partial.work = partial.work
            + Work {
                tokens_in: lane.tokens_in,
                token_layers: lane.token_layers,
                token_pairs: lane.token_pairs,
                block_flops: lane.block_flops,
                head_rows: lane.end.head_rows,
                matching_flops: lane.matching_flops,
            };
        for step in &lane.steps {
            // A shared step has its decision if any of its lanes is recorded; only recorded items take it.
            let decision = step.decision.as_ref().filter(|_| item < recorded_plans).cloned();
            partial.traces.add_step(item, Step { decision, ..**step });
        }
        partial.answers.extend(lane.end.answers);
    }
    partial
}
