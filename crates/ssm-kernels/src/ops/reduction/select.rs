use candle_core::{DType, Tensor};

use super::{Outputs, Reduced, TokenState};
use crate::cuda::{Arg, Gpu, Grid, Image, image};
use crate::error::{KernelError, expect_shape};
use crate::ops::row_plan::{BranchWeights, RowPlan};
use crate::segments::Segments;

static KERNELS: Image = image!("select_tokens");

const OP: &str = "select_tokens";
const THREADS: usize = 1024;

/// Keeps the protected rows of every segment and, of the others, as many as fill `lengths`: those with the highest scores
/// (or the lowest), of equal scores the lower index. The rest is dropped.
///
/// # Shapes
/// - `scores`: `[tokens]`, float32; `lengths`: rows that each segment keeps, at least its protected ones
///
/// # Errors
/// Tensors that do not fit, or an error of the device.
pub fn select_tokens(
    scores: &Tensor,
    tokens: &TokenState,
    segments: &Segments,
    lengths: &[usize],
    keep_highest: bool,
) -> Result<Reduced, KernelError> {
    let gpu = Gpu::of(scores, OP)?;
    let rows_in = segments.n_tokens();
    expect_shape(OP, "scores", scores.dims(), &[rows_in])?;
    let shortened = segments.with_lengths(lengths);
    let rows = shortened.n_tokens();
    let (sizes, protected) = tokens.args(&gpu, OP, rows_in)?;
    let out = Outputs::new(&gpu, rows, 0, segments)?;
    let args = [
        gpu.float32(scores, OP, "scores")?,
        protected,
        sizes,
        gpu.address(&segments.on_device(&gpu)?.offsets),
        gpu.address(&shortened.on_device(&gpu)?.offsets),
        Arg::int(usize::from(keep_highest)),
        gpu.tensor(&out.keep)?,
        gpu.tensor(&out.tokens.sizes)?,
        gpu.tensor(&out.tokens.protected)?,
        gpu.tensor(&out.faults)?,
    ];
    let grid = Grid { blocks: (segments.len(), 1, 1), threads: (THREADS, 1), shared: 0 };
    gpu.launch(&KERNELS, OP, grid, &args)?;
    // Nothing is merged: no edges, and weights that nobody reads.
    let none = |len: usize, dtype: DType| Tensor::zeros(len, dtype, scores.device());
    let weights = || {
        Ok::<_, KernelError>(BranchWeights {
            edge: none(1, DType::F32)?,
            own: none(rows, DType::F32)?,
            keep: None,
            tops: None,
        })
    };
    let plan =
        RowPlan::new(rows_in, out.keep, none(rows + 1, DType::U32)?, none(1, DType::U32)?, weights()?, weights()?)?;
    Ok(Reduced { rows: plan, tokens: out.tokens, segments: shortened, merges: false, times: None, faults: out.faults })
}
