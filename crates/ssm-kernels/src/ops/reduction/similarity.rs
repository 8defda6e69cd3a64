use candle_core::{DType, Tensor};

use crate::cuda::{Arg, Gpu, Grid, Image, image, suffix};
use crate::error::KernelError;
use crate::ops::row_plan::RowPlan;

static KERNELS: Image = image!("edge_similarity");

/// Rows of a block, a warp each.
const ROWS: usize = 8;

/// Cosine similarity of every removed row of `x` (`[tokens, width]`) and the kept row that its edge points to, in the order of
/// the plan's edges: `[edges]`, float32.
///
/// # Errors
/// A plan for another stream, or an error of the device.
pub fn edge_similarity(x: &Tensor, plan: &RowPlan) -> Result<Tensor, KernelError> {
    const OP: &str = "edge_similarity";
    let gpu = Gpu::of(x, OP)?;
    let (rows_in, width) = x.dims2()?;
    plan.expect_rows(OP, rows_in)?;
    let similarity = gpu.empty(plan.edge_src.dims(), DType::F32)?;
    let rows = plan.rows_out();
    let args = [
        gpu.contiguous(x, OP, "x")?,
        Arg::int(width),
        gpu.tensor(&plan.keep)?,
        gpu.tensor(&plan.edge_off)?,
        gpu.tensor(&plan.edge_src)?,
        Arg::int(rows),
        gpu.tensor(&similarity)?,
    ];
    let name = format!("{OP}_{}", suffix(x.dtype(), OP)?);
    let grid = Grid { blocks: (rows.div_ceil(ROWS), 1, 1), threads: (32 * ROWS, 1), shared: 0 };
    gpu.launch(&KERNELS, &name, grid, &args)?;
    Ok(similarity)
}
