use candle_core::{DType, Tensor};

use super::{Similarity, TokenState};
use crate::cuda::{Arg, Gpu, Grid, Image, image, rows_of, suffix};
use crate::error::{KernelError, expect_shape};
use crate::segments::Segments;

static KERNELS: Image = image!("online");

const OP: &str = "decide_in_order";
const TILE: usize = 256;

/// Blocks of so many rows for each segment.
fn tiles(segments: &Segments, rows: usize) -> Grid {
    Grid { blocks: (segments.longest().div_ceil(rows), segments.len(), 1), threads: (TILE, 1), shared: 0 }
}

/// Minus the largest cosine similarity of each row with the rows of its segment just before it, `window` of them or all; 1 for the first
/// row. `[tokens]`, float32.
///
/// # Errors
/// Tensors that do not fit, or an error of the device.
pub fn novelty(features: Similarity<'_>, segments: &Segments) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(features.x, OP)?;
    let (rows, width, ld) = rows_of(features.x, OP, "x")?;
    expect_shape(OP, "x", &[rows], &[segments.n_tokens()])?;
    let scores = gpu.empty(rows, DType::F32)?;
    let args = [
        gpu.tensor(features.x)?,
        Arg::long(ld),
        Arg::int(width),
        gpu.float32(features.inverse_norms, OP, "inverse_norms")?,
        Arg::int(usize::from(features.clip)),
        gpu.address(&segments.on_device(&gpu)?.offsets),
        Arg::int(features.window.unwrap_or(0)),
        gpu.tensor(&scores)?,
    ];
    let name = format!("novelty_{}", suffix(features.x.dtype(), OP)?);
    gpu.launch(&KERNELS, &name, tiles(segments, TILE / 32), &args)?;
    Ok(scores)
}

/// Which unprotected rows are kept where each is decided from the scores up to it, in blocks of `block`, so that every block ends with
/// `ceil(keep_ratio * n)` of the `n` rows so far: 1 for kept, 0 for removed, NaN where a score is NaN or infinite. `[tokens]`, float32; rows
/// of a segment that keeps all of them are not written.
///
/// # Errors
/// Tensors that do not fit, or an error of the device.
pub fn decide_in_order(
    scores: &Tensor,
    tokens: &TokenState,
    segments: &Segments,
    lengths: &[usize],
    keep_ratio: f64,
    block: usize,
) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(scores, OP)?;
    let rows = segments.n_tokens();
    expect_shape(OP, "scores", scores.dims(), &[rows])?;
    let (_, protected) = tokens.args(&gpu, OP, rows)?;
    let (earlier, as_high) = (gpu.scratch::<i32>(rows)?, gpu.scratch::<i32>(rows)?);
    let scores = gpu.float32(scores, OP, "scores")?;
    let seg_off = gpu.address(&segments.on_device(&gpu)?.offsets);
    let args = [scores, protected, seg_off, gpu.address(&earlier), gpu.address(&as_high)];
    gpu.launch(&KERNELS, "earlier_ranks", tiles(segments, TILE), &args)?;
    let flags = gpu.empty(rows, DType::F32)?;
    let shortened = segments.with_lengths(lengths);
    let args = [
        scores,
        protected,
        args[3],
        args[4],
        seg_off,
        gpu.address(&shortened.on_device(&gpu)?.offsets),
        Arg::Double(keep_ratio),
        Arg::int(block),
        gpu.tensor(&flags)?,
    ];
    gpu.launch(&KERNELS, OP, Grid { blocks: (segments.len(), 1, 1), threads: (32, 1), shared: 0 }, &args)?;
    Ok(flags)
}
