use candle_core::{DType, Tensor};

use super::TokenState;
use crate::cuda::{Gpu, Grid, Image, image};
use crate::error::{KernelError, expect_shape};
use crate::segments::Segments;

static KERNELS: Image = image!("chunk_ends");

const OP: &str = "chunk_ends";

/// Which unprotected rows end a chunk where those of each segment are cut into contiguous chunks of equal importance, as many as the segment
/// keeps: 1 for the last row of a chunk, 0 for the others, NaN where a score is NaN or infinite. `[tokens]`, float32; rows of a segment that
/// keeps all of them are not written.
///
/// # Errors
/// Tensors that do not fit, or an error of the device.
pub fn chunk_ends(
    scores: &Tensor,
    tokens: &TokenState,
    segments: &Segments,
    lengths: &[usize],
) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(scores, OP)?;
    let rows = segments.n_tokens();
    expect_shape(OP, "scores", scores.dims(), &[rows])?;
    let (_, protected) = tokens.args(&gpu, OP, rows)?;
    let flags = gpu.empty(rows, DType::F32)?;
    let shortened = segments.with_lengths(lengths);
    let args = [
        gpu.float32(scores, OP, "scores")?,
        protected,
        gpu.address(&segments.on_device(&gpu)?.offsets),
        gpu.address(&shortened.on_device(&gpu)?.offsets),
        gpu.tensor(&flags)?,
    ];
    gpu.launch(&KERNELS, OP, Grid { blocks: (segments.len(), 1, 1), threads: (32, 1), shared: 0 }, &args)?;
    Ok(flags)
}
