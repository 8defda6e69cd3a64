use candle_core::{Device, Tensor};

use crate::error::{KernelError, expect_shape};

/// Which rows of a stream are kept and which removed rows are merged into them, as tensors on the stream's device.
///
/// Row `i` of the result is made of the arriving row `keep[i]` and of the rows `edge_src[edge_off[i]..edge_off[i + 1]]`. On
/// each branch it is the weighted mean over those with a weight other than 0, or the arriving row itself where none has. A residual
/// branch that goes on with rows of its own has another list in place of `keep` ([`BranchWeights::keep`]).
#[derive(Clone, Debug)]
pub struct RowPlan {
    rows_in: usize,
    /// `[rows_out]`, u32: arriving rows, ascending.
    pub keep: Tensor,
    /// `[rows_out + 1]`, u32: first edge of each kept row, then their number.
    pub edge_off: Tensor,
    /// `[edges]`, u32 (one unused entry where there are none): removed rows, ascending within a kept row.
    pub edge_src: Tensor,
    /// Weights on the hidden branch.
    pub hidden: BranchWeights,
    /// Weights on the residual branch.
    pub residual: BranchWeights,
}

/// Weights of one branch, float32.
#[derive(Clone, Debug)]
pub struct BranchWeights {
    /// `[edges]`: 0 where the edge does not merge on this branch.
    pub edge: Tensor,
    /// `[rows_out]`: weight of the kept row itself.
    pub own: Tensor,
    /// `[rows_out]`, u32: the arriving rows of this branch in place of [`RowPlan::keep`], ascending within a segment, where the branch goes on
    /// with rows of its own; nothing is merged on it then. None: those of the plan. No kernel that reads a plan as it goes knows that.
    pub keep: Option<Tensor>,
    /// Where some segments merge by [`super::MergeRule::ChannelTopHalf`]; no kernel that reads a plan as it goes knows that.
    pub tops: Option<ChannelTops>,
}

/// Which segments merge by [`super::MergeRule::ChannelTopHalf`], and what.
#[derive(Clone, Debug)]
pub struct ChannelTops {
    /// `[edges]`, u32: the rows that are merged in each segment, ascending.
    pub sources: Tensor,
    /// `[segments + 1]`, u32: first of them of each segment, then their number.
    pub offsets: Tensor,
    /// `[segments]`, u32: how many values of a channel count.
    pub kept: Tensor,
    /// `[rows_out]`, u32: the segment of a kept row, [`NO_TOPS`] where it merges by weighted mean.
    pub row_segment: Tensor,
}

/// The entry of [`ChannelTops::row_segment`] for rows that are merged by weighted mean.
pub const NO_TOPS: u32 = u32::MAX;

impl ChannelTops {
    /// The tables beside the sources, placed where these lie.
    pub(crate) fn new(
        sources: Tensor,
        offsets: Vec<u32>,
        kept: Vec<u32>,
        row_segment: Vec<u32>,
    ) -> Result<Self, KernelError> {
        let place = |values| ids(values, sources.device());
        Ok(Self { offsets: place(offsets)?, kept: place(kept)?, row_segment: place(row_segment)?, sources })
    }
}

/// A table of rows or counts as a tensor.
pub(crate) fn ids(values: Vec<u32>, device: &Device) -> Result<Tensor, KernelError> {
    let len = values.len();
    Ok(Tensor::from_vec(values, len, device)?)
}

impl RowPlan {
    /// A plan from its tensors, for a stream of `rows_in` rows.
    ///
    /// # Errors
    /// Tensors whose lengths do not fit each other, or a hidden branch with rows of its own.
    pub fn new(
        rows_in: usize,
        keep: Tensor,
        edge_off: Tensor,
        edge_src: Tensor,
        hidden: BranchWeights,
        residual: BranchWeights,
    ) -> Result<Self, KernelError> {
        let (rows, edges) = (keep.dim(0)?, edge_src.dim(0)?);
        expect_shape("row_plan", "edge_off", edge_off.dims(), &[rows + 1])?;
        if hidden.keep.is_some() {
            return Err(KernelError::Device(
                "row_plan: the rows of the hidden branch are those of the plan".to_owned(),
            ));
        }
        for weights in [&hidden, &residual] {
            expect_shape("row_plan", "edge", weights.edge.dims(), &[edges])?;
            expect_shape("row_plan", "own", weights.own.dims(), &[rows])?;
            if let Some(keep) = &weights.keep {
                expect_shape("row_plan", "keep", keep.dims(), &[rows])?;
            }
        }
        Ok(Self { rows_in, keep, edge_off, edge_src, hidden, residual })
    }

    /// Whether a layer can gather and merge the rows as it reads them: the same rows on both branches, merged by weighted mean.
    #[must_use]
    pub fn is_gathered_by_layers(&self) -> bool {
        [&self.hidden, &self.residual].iter().all(|branch| branch.tops.is_none() && branch.keep.is_none())
    }

    /// The arriving rows of one branch, `[rows_out]`.
    pub(crate) fn keep_of<'a>(&'a self, branch: &'a BranchWeights) -> &'a Tensor {
        branch.keep.as_ref().unwrap_or(&self.keep)
    }

    /// Number of kept rows.
    #[must_use]
    pub fn rows_out(&self) -> usize {
        self.keep.elem_count()
    }

    /// Refuses a stream of another length.
    pub(crate) fn expect_rows(&self, op: &'static str, rows: usize) -> Result<(), KernelError> {
        expect_shape(op, "hidden", &[rows], &[self.rows_in])
    }

    /// The arguments of the kernels that read a plan, in their order.
    #[cfg(feature = "cuda")]
    pub(crate) fn args(&self, gpu: &crate::cuda::Gpu) -> Result<[crate::cuda::Arg; 7], KernelError> {
        if !self.is_gathered_by_layers() {
            return Err(KernelError::Device(
                "a layer merges by weighted mean alone, and the same rows on both branches: apply this plan first"
                    .to_owned(),
            ));
        }
        Ok([
            gpu.tensor(&self.keep)?,
            gpu.tensor(&self.edge_off)?,
            gpu.tensor(&self.edge_src)?,
            gpu.tensor(&self.hidden.edge)?,
            gpu.tensor(&self.hidden.own)?,
            gpu.tensor(&self.residual.edge)?,
            gpu.tensor(&self.residual.own)?,
        ])
    }
}
