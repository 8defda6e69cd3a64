//! How many rows may be in flight, from the bytes that are granted.

use ssm_model::ModelConfig;

use super::{CellRequest, ExecutorSettings};
use crate::error::EvaluationError;
use crate::score::HEAD_ROWS;

/// Bounds of one worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Rows of a packed call, unless a single document is longer.
    pub(super) rows_per_call: usize,
    /// Most rows of a packed call.
    most_rows: usize,
    /// Granted to all workers.
    memory_bytes: u64,
}

impl Budget {
    /// A call of `n` rows needs its working memory, and the arriving activations (hidden states and residual) wait at each
    /// site for the children that are run later: at most `n` rows at each of the distinct sites.
    pub(super) fn new(config: &ModelConfig, cells: &[CellRequest<'_>], settings: &ExecutorSettings) -> Self {
        let mut sites: Vec<usize> = cells.iter().flat_map(|cell| &cell.reduction.sites).copied().collect();
        sites.sort_unstable();
        sites.dedup();
        let floats_per_row = config.working_floats_per_token() + sites.len() * 2 * config.d_model;
        // Logits and their exponentials are not kept, but one block of them is always there.
        let head = 4 * HEAD_ROWS * config.vocab_size;
        let per_worker = (settings.memory_bytes / settings.workers.max(1) as u64) as usize;
        let most_rows = per_worker.saturating_sub(head) / (4 * floats_per_row);
        Self { rows_per_call: settings.max_tokens.min(most_rows), most_rows, memory_bytes: settings.memory_bytes }
    }

    /// Refuses a call that would need more than was granted.
    pub(super) fn check(&self, rows: usize) -> Result<(), EvaluationError> {
        if rows > self.most_rows {
            return Err(EvaluationError::Memory { rows, most_rows: self.most_rows, bytes: self.memory_bytes });
        }
        Ok(())
    }
}
