//! The blocks of a token reduction on the GPU: scores, selection, pairing. The host knows every count beforehand and waits
//! for nothing. What they compute is defined by the blocks of the crate `reduction-strategies`, which are their reference.

mod chunks;
mod fates;
mod merges;
mod newness;
mod online;
mod pairs;
mod protect;
mod rank_sum;
mod rounds;
mod runs;
mod scan_scores;
mod scores;
mod select;
mod similarity;
mod split;

use candle_core::{DType, Device, Tensor};

pub use chunks::chunk_ends;
pub use fates::{Edges, Fates, merge_then_drop, released_pairs};
pub use merges::{Merging, merge_removed};
pub use newness::newness;
pub use online::{decide_in_order, novelty};
pub use pairs::{Carry, Pairing, PruneOrder, Sides, Similarity};
pub use protect::{protect_as, protect_last};
pub use rank_sum::{RankTerm, rank_sum};
pub use rounds::pair_tokens;
pub use runs::{RunMerge, RunScan, merge_runs};
pub use scan_scores::{ScanTensors, hidden_attention, write_norm};
pub use scores::{RowNorm, ScoreMetric, token_scores};
pub use select::select_tokens;
pub use similarity::edge_similarity;
pub use split::split_branches;

use super::row_plan::{BranchWeights, RowPlan};
use crate::cuda::{Arg, Gpu};
use crate::error::{KernelError, expect_shape};
use crate::segments::Segments;

/// What a site must know of every live row, beside its activations.
#[derive(Clone, Debug)]
pub struct TokenState {
    /// `[tokens]`, float32: how many original tokens each row stands for.
    pub sizes: Tensor,
    /// `[tokens]`, u8: 1 for rows that no rule may remove or merge into.
    pub protected: Tensor,
}

/// A reduction of a stream that was decided on the GPU.
#[derive(Clone, Debug)]
pub struct Reduced {
    /// Which rows stay and what is merged into them.
    pub rows: RowPlan,
    /// The state of the rows that stay.
    pub tokens: TokenState,
    /// The segments with their new lengths.
    pub segments: Segments,
    /// Whether removed rows may be merged; else all are dropped.
    pub merges: bool,
    /// `[rows, 2]`, float32: factors on the step sizes of the kept rows, in the decay and in the write, where the reduction sets them
    /// ([`merge_runs`]); none: each row keeps its own.
    pub times: Option<Tensor>,
    /// `[segments]`, u32: the first row of each segment of which what it was ranked by is no finite number, [`NO_FAULT`]
    /// where there is none. Whoever takes rows from this reduction must look at it: such a plan means nothing.
    pub faults: Tensor,
}

/// The entry of [`Reduced::faults`] for a segment whose scores are all finite.
pub const NO_FAULT: u32 = u32::MAX;

/// The tensors that a selection kernel fills.
struct Outputs {
    keep: Tensor,
    edge_off: Tensor,
    edge_src: Tensor,
    /// Edge weights and own weights on the hidden, then on the residual branch.
    weights: [Tensor; 4],
    tokens: TokenState,
    faults: Tensor,
}

impl Outputs {
    fn new(gpu: &Gpu, rows: usize, edges: usize, segments: &Segments) -> Result<Self, KernelError> {
        let edges = edges.max(1);
        let faults = vec![NO_FAULT; segments.len()];
        Ok(Self {
            keep: gpu.empty(rows, DType::U32)?,
            edge_off: gpu.empty(rows + 1, DType::U32)?,
            edge_src: gpu.empty(edges, DType::U32)?,
            weights: [
                gpu.empty(edges, DType::F32)?,
                gpu.empty(rows, DType::F32)?,
                gpu.empty(edges, DType::F32)?,
                gpu.empty(rows, DType::F32)?,
            ],
            tokens: TokenState { sizes: gpu.empty(rows, DType::F32)?, protected: gpu.empty(rows, DType::U8)? },
            faults: Tensor::from_vec(faults, segments.len(), &Device::Cuda(gpu.device().clone()))?,
        })
    }

    fn reduced(self, rows_in: usize, segments: Segments) -> Result<Reduced, KernelError> {
        let [hidden_edge, hidden_own, residual_edge, residual_own] = self.weights;
        let rows = RowPlan::new(
            rows_in,
            self.keep,
            self.edge_off,
            self.edge_src,
            BranchWeights { edge: hidden_edge, own: hidden_own, keep: None, tops: None },
            BranchWeights { edge: residual_edge, own: residual_own, keep: None, tops: None },
        )?;
        Ok(Reduced { rows, tokens: self.tokens, segments, merges: true, times: None, faults: self.faults })
    }
}

impl TokenState {
    /// The addresses of sizes and protection, which must be of `rows` rows.
    fn args(&self, gpu: &Gpu, op: &'static str, rows: usize) -> Result<(Arg, Arg), KernelError> {
        expect_shape(op, "sizes", self.sizes.dims(), &[rows])?;
        expect_shape(op, "protected", self.protected.dims(), &[rows])?;
        Ok((gpu.tensor(&self.sizes)?, gpu.tensor(&self.protected)?))
    }
}

/// Running sum with a leading 0, as kernels want their offsets.
fn offsets(counts: impl IntoIterator<Item = usize>) -> Vec<i32> {
    let mut offsets = vec![0_i32];
    for count in counts {
        offsets.push(offsets[offsets.len() - 1] + count as i32);
    }
    offsets
}
