//! How many rows may be in flight, from the bytes that are granted.

use std::sync::atomic::{AtomicUsize, Ordering};

use ssm_model::ModelConfig;
use tracing::warn;

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

    /// The same with fewer rows a call.
    pub(super) fn with_rows(self, rows_per_call: usize) -> Self {
        Self { rows_per_call, ..self }
    }

    /// Refuses a call that would need more than was granted.
    pub(super) fn check(&self, rows: usize) -> Result<(), EvaluationError> {
        if rows > self.most_rows {
            return Err(EvaluationError::Memory { rows, most_rows: self.most_rows, bytes: self.memory_bytes });
        }
        Ok(())
    }
}

/// Fewer rows than this do not make a call small enough if it was too large before.
const FEWEST: usize = 256;

/// Rows of a packed call as far as the GPU's memory has turned out to hold them; shared by all workers, only ever lowered.
#[derive(Debug)]
pub(super) struct RowLimit(AtomicUsize);

impl Default for RowLimit {
    fn default() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }
}

impl RowLimit {
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Halves the limit after `rows` were too many; false where halving is no use any more.
    pub(super) fn lower(&self, rows: usize) -> bool {
        if rows <= FEWEST {
            return false;
        }
        let halved = (rows / 2).max(FEWEST);
        if self.0.fetch_min(halved, Ordering::Relaxed) > halved {
            warn!(rows = halved, "the GPU ran out of memory; going on with fewer rows a call");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_halves_down_to_a_floor_and_never_rises() {
        let limit = RowLimit::default();
        assert!(limit.lower(1000) && limit.get() == 500);
        // Another worker had started with the old limit.
        assert!(limit.lower(1000) && limit.get() == 500);
        assert!(limit.lower(500) && limit.get() == 256);
        assert!(!limit.lower(256) && limit.get() == 256);
    }
}
