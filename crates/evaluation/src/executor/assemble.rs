//! From lanes to cells: units are put together in the order of their layout, whatever order they ran in.

use std::sync::Arc;

use super::catalogue::{Catalogue, Lane};
use super::walk::{LaneOutcome, LaneResult};
use super::{CellOutcome, CellRequest};
use crate::error::EvaluationError;
use crate::evaluate::{Evaluation, Work};
use crate::outcome::{Choice, collect};
use crate::trace::Traces;

/// A cell whose lanes come in.
struct Pending {
    /// By unit.
    lanes: Vec<Option<Result<LaneOutcome, Arc<EvaluationError>>>>,
    missing: usize,
    seconds: f64,
}

/// All cells whose lanes come in.
pub(super) struct Assembly<'a> {
    cells: &'a [CellRequest<'a>],
    catalogue: &'a Catalogue,
    recorded_plans: usize,
    pending: Vec<Pending>,
    done: usize,
    total: usize,
}

impl<'a> Assembly<'a> {
    pub(super) fn new(cells: &'a [CellRequest<'a>], catalogue: &'a Catalogue, recorded_plans: usize) -> Self {
        let pending = catalogue.layout_of.iter().map(|layout| {
            let units = catalogue.layouts[*layout].units.len();
            Pending { lanes: (0..units).map(|_| None).collect(), missing: units, seconds: 0.0 }
        });
        let pending: Vec<Pending> = pending.collect();
        let total = pending.iter().map(|pending| pending.missing).sum();
        Self { cells, catalogue, recorded_plans, pending, done: 0, total }
    }

    /// Lanes that came in.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// All lanes.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Takes a lane in; returns its cell where it was the last one.
    pub(super) fn add(&mut self, lane: Lane, result: LaneResult) -> Option<CellOutcome> {
        self.done += 1;
        let pending = &mut self.pending[lane.cell];
        pending.seconds += result.share;
        pending.lanes[lane.unit] = Some(result.result);
        pending.missing -= 1;
        if pending.missing > 0 {
            return None;
        }
        let lanes = std::mem::take(&mut pending.lanes).into_iter().flatten();
        let seconds = pending.seconds;
        let result = lanes.collect::<Result<Vec<_>, _>>().map(|lanes| self.evaluation(lane.cell, lanes));
        Some(CellOutcome { cell: lane.cell, result, seconds })
    }

    /// The evaluation of a cell from its units, in layout order.
    fn evaluation(&self, cell: usize, lanes: Vec<LaneOutcome>) -> Evaluation {
        let layout = &self.catalogue.layouts[self.catalogue.layout_of[cell]];
        let mut choices: Vec<Option<Choice>> = vec![None; layout.queries.len()];
        let mut tokens = vec![(0_u64, 0_u64); self.cells[cell].items.len()];
        let mut work = Work::default();
        let mut traces = Traces::new(self.recorded_plans);
        for (unit, lane) in layout.units.iter().zip(lanes) {
            let item = unit.item as usize;
            tokens[item].0 += lane.tokens_in;
            tokens[item].1 += lane.end.tokens_kept;
            work.tokens_in += lane.tokens_in;
            work.token_layers += lane.token_layers;
            work.token_pairs += lane.token_pairs;
            work.head_rows += lane.end.head_rows;
            work.matching_flops += lane.matching_flops;
            for step in &lane.steps {
                traces.add_step(item, step);
            }
            for (query, choice) in lane.end.choices {
                choices[query] = Some(choice);
            }
        }
        Evaluation {
            items: collect(&layout.queries, choices, &tokens),
            sites: traces.sites(),
            plans: traces.plans(),
            work,
        }
    }
}
