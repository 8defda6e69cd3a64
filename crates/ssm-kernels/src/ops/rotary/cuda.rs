use candle_core::Tensor;

use super::{Layout, OP, Rotary, Rotated};
use crate::cuda::{Arg, Gpu, Grid, Image, image, suffix};
use crate::error::{KernelError, expect_shape};

static KERNELS: Image = image!("rotary");

const THREADS: usize = 256;

pub(super) fn rotary(fused: &Tensor, positions: &[u32], rotary: &Rotary) -> Result<Rotated, KernelError> {
    let gpu = Gpu::of(fused, OP)?;
    let (rows, width) = fused.dims2()?;
    expect_shape(OP, "fused", &[rows, width], &[rows, rotary.width()])?;
    expect_shape(OP, "positions", &[positions.len()], &[rows])?;
    let out = |heads: usize| gpu.empty((rows, heads * rotary.head_dim), fused.dtype());
    let (queries, keys, values) = (out(rotary.heads)?, out(rotary.kv_heads)?, out(rotary.kv_heads)?);
    let (positions, frequencies) = (gpu.upload(positions)?, gpu.upload(&rotary.frequencies)?);
    let pairs = rotary.frequencies.len();
    let args = [
        gpu.contiguous(fused, OP, "fused")?,
        gpu.address(&positions),
        gpu.address(&frequencies),
        gpu.tensor(&queries)?,
        gpu.tensor(&keys)?,
        gpu.tensor(&values)?,
        Arg::int(rotary.heads),
        Arg::int(rotary.kv_heads),
        Arg::int(usize::from(rotary.layout == Layout::HeadByHead)),
        Arg::int(rotary.head_dim),
        Arg::int(pairs),
    ];
    let grid = Grid { blocks: (rows, 1, 1), threads: (THREADS, 1), shared: 2 * pairs * size_of::<f32>() };
    gpu.launch(&KERNELS, &format!("rotary_{}", suffix(fused.dtype(), OP)?), grid, &args)?;
    Ok(Rotated { queries, keys, values })
}
