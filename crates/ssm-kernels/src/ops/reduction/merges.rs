use candle_core::{DType, Tensor};

use super::{Outputs, Reduced, TokenState, offsets};
use crate::cuda::{Arg, Gpu, Grid, Image, image};
use crate::error::{KernelError, expect_shape};
use crate::ops::row_plan::{BranchWeights, ChannelTops, NO_TOPS, RowPlan};
use crate::segments::Segments;

static KERNELS: Image = image!("merge_edges");

const OP: &str = "merge_edges";
const THREADS: usize = 1024;

/// What is merged into the rows that a reduction keeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Merging<'a> {
    /// `[tokens]`, u32: the kept row of its segment that a removed row goes into, `u32::MAX` where it is dropped. None: each goes into the
    /// next kept row that is not protected, and is dropped where none follows.
    pub targets: Option<&'a Tensor>,
    /// `[tokens]`, float32: weights of all rows in the means of the hidden branch; none: all alike.
    pub hidden: Option<&'a Tensor>,
    /// The same on the residual branch.
    pub residual: Option<&'a Tensor>,
    /// Whether the hidden branch merges by [`crate::ops::MergeRule::ChannelTopHalf`], with half the removed rows of a segment, rounded down.
    pub hidden_tops: bool,
}

/// Adds merges to a reduction that drops rows: `reduced` comes from [`super::select_tokens`] of a stream with these segments and tokens.
///
/// # Errors
/// Tensors that do not fit, or an error of the device.
pub fn merge_removed(
    reduced: Reduced,
    merging: Merging<'_>,
    tokens: &TokenState,
    segments: &Segments,
) -> Result<Reduced, KernelError> {
    let Reduced { rows: plan, tokens: kept, segments: shortened, faults, .. } = reduced;
    let gpu = Gpu::of(&plan.keep, OP)?;
    let (rows_in, rows) = (segments.n_tokens(), plan.rows_out());
    let n_edges = rows_in - rows;
    let (sizes, _) = tokens.args(&gpu, OP, rows_in)?;
    let weights = |tensor: Option<&Tensor>| match tensor {
        Some(tensor) => {
            expect_shape(OP, "weights", tensor.dims(), &[rows_in])?;
            gpu.float32(tensor, OP, "weights")
        }
        None => Ok(Arg::NULL),
    };
    let out = Outputs::new(&gpu, rows, n_edges, segments)?;
    let removed = gpu.empty(n_edges.max(1), DType::U32)?;
    let scratch = gpu.scratch::<i32>(2 * n_edges + rows)?;
    let args = [
        gpu.tensor(&plan.keep)?,
        gpu.address(&segments.on_device(&gpu)?.offsets),
        gpu.address(&shortened.on_device(&gpu)?.offsets),
        merging.targets.map_or(Ok(Arg::NULL), |targets| gpu.tensor(targets))?,
        weights(merging.hidden)?,
        weights(merging.residual)?,
        sizes,
        gpu.tensor(&kept.protected)?,
        gpu.tensor(&out.edge_off)?,
        gpu.tensor(&out.edge_src)?,
        gpu.tensor(&out.weights[0])?,
        gpu.tensor(&out.weights[2])?,
        gpu.tensor(&out.weights[1])?,
        gpu.tensor(&out.weights[3])?,
        gpu.tensor(&removed)?,
        gpu.address(&scratch),
        gpu.tensor(&out.tokens.sizes)?,
    ];
    gpu.launch(&KERNELS, OP, Grid { blocks: (segments.len(), 1, 1), threads: (THREADS, 1), shared: 0 }, &args)?;
    let tops = merging.hidden_tops.then(|| tops(removed, segments, &shortened)).transpose()?;
    let [hidden_edge, hidden_own, residual_edge, residual_own] = out.weights;
    let rows = RowPlan::new(
        rows_in,
        plan.keep,
        out.edge_off,
        out.edge_src,
        BranchWeights { edge: hidden_edge, own: hidden_own, keep: None, tops },
        BranchWeights { edge: residual_edge, own: residual_own, keep: None, tops: None },
    )?;
    let tokens = TokenState { sizes: out.tokens.sizes, protected: kept.protected };
    Ok(Reduced { rows, tokens, segments: shortened, merges: true, times: None, faults })
}

/// All removed rows of a segment are merged, and of each channel half of their values count.
fn tops(sources: Tensor, before: &Segments, after: &Segments) -> Result<ChannelTops, KernelError> {
    let lost: Vec<usize> = (0..before.len()).map(|index| before.length(index) - after.length(index)).collect();
    let segment_of = |(index, lost): (usize, &usize)| {
        std::iter::repeat_n(if *lost == 0 { NO_TOPS } else { index as u32 }, after.length(index))
    };
    ChannelTops::new(
        sources,
        offsets(lost.iter().copied()).into_iter().map(|offset| offset as u32).collect(),
        lost.iter().map(|lost| (lost / 2) as u32).collect(),
        lost.iter().enumerate().flat_map(segment_of).collect(),
    )
}
