//! How many rows run in one call: fixed on the CPU, on a GPU as many as its memory turns out to hold.

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use evaluation::{EvaluationError, Layout, Partial, Reduction, Settings, evaluate_span};
use ssm_model::LanguageModel;
use tracing::warn;

use super::shared::GPU_ROWS;

/// Fewer rows than this do not make a call small enough if it was too large before.
const FEWEST: usize = 256;

/// The number of rows, remembered from cell to cell.
#[derive(Debug)]
pub(super) struct BatchRows(Cell<usize>);

impl BatchRows {
    /// For a model on the CPU or on a GPU.
    pub(super) fn new(on_cpu: bool) -> Self {
        Self(Cell::new(if on_cpu { Settings::default().max_tokens } else { GPU_ROWS }))
    }

    /// Evaluates some units and returns how long that took, without what only a record asks for. Retries with half the rows if the GPU runs
    /// out of memory. No result depends on the number of rows, except under `upstream`, which fixes its batches itself and is not tried again.
    pub(super) fn evaluate(
        &self,
        model: &LanguageModel,
        layout: &Layout,
        span: Range<usize>,
        reduction: &Reduction,
        recorded_plans: usize,
    ) -> Result<(Partial, Duration), EvaluationError> {
        loop {
            let max_tokens = self.0.get();
            let result = evaluate_span(model, layout, span.clone(), reduction, Settings { recorded_plans, max_tokens });
            let fixed = layout.scoring().protocol().pads();
            match result {
                Err(error) if error.is_out_of_memory() && !fixed && max_tokens > FEWEST => {
                    self.0.set(max_tokens / 2);
                    warn!(rows = max_tokens / 2, "the GPU ran out of memory; going on with fewer rows a call");
                }
                result => return result,
            }
        }
    }
}
