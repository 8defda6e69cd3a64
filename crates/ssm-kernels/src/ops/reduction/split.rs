use candle_core::{DType, Tensor};

use super::{Reduced, TokenState, select_tokens};
use crate::cuda::{Gpu, Grid, Image, image};
use crate::error::{KernelError, expect_shape};
use crate::ops::row_plan::RowPlan;
use crate::segments::Segments;

static KERNELS: Image = image!("select_split");

const OP: &str = "split_branches";
const TILE: usize = 256;

/// The residual branch goes on with rows of its own: the protected ones and, between each two of them, as many as `reduced` keeps there, those
/// with the highest scores, of equal scores the lower index. `reduced` comes from [`select_tokens`] of a stream with these segments and
/// tokens; what a row is otherwise follows the hidden branch. Work grows with the square of a segment where no row is protected.
///
/// # Shapes
/// - `scores`: `[tokens]`, float32
///
/// # Errors
/// Tensors that do not fit, a reduction that merges, or an error of the device.
pub fn split_branches(
    reduced: Reduced,
    scores: &Tensor,
    tokens: &TokenState,
    segments: &Segments,
) -> Result<Reduced, KernelError> {
    let gpu = Gpu::of(scores, OP)?;
    let n_tokens = segments.n_tokens();
    expect_shape(OP, "scores", scores.dims(), &[n_tokens])?;
    if reduced.merges {
        return Err(KernelError::Device("split_branches: expected a reduction that merges nothing".to_owned()));
    }
    let (_, protected) = tokens.args(&gpu, OP, n_tokens)?;
    let flags = gpu.empty(n_tokens, DType::F32)?;
    let args = [
        gpu.float32(scores, OP, "scores")?,
        protected,
        gpu.address(&segments.on_device(&gpu)?.offsets),
        gpu.address(&reduced.segments.on_device(&gpu)?.offsets),
        gpu.tensor(&reduced.rows.keep)?,
        gpu.tensor(&flags)?,
        gpu.tensor(&reduced.faults)?,
    ];
    let grid = Grid { blocks: (segments.longest().div_ceil(TILE), segments.len(), 1), threads: (TILE, 1), shared: 0 };
    gpu.launch(&KERNELS, "select_split", grid, &args)?;
    let lengths: Vec<usize> = (0..segments.len()).map(|index| reduced.segments.length(index)).collect();
    let chosen = select_tokens(&flags, tokens, segments, &lengths, true)?;
    let RowPlan { keep, edge_off, edge_src, hidden, mut residual, .. } = reduced.rows;
    residual.keep = Some(chosen.rows.keep);
    let rows = RowPlan::new(n_tokens, keep, edge_off, edge_src, hidden, residual)?;
    Ok(Reduced { rows, ..reduced })
}
