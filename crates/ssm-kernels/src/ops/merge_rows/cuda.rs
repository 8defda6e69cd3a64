use candle_core::Tensor;

use super::{OP, RowMerges};
use crate::cuda::{Arg, Gpu, Grid, Image, RowShape, image, is_wide, suffix};
use crate::error::KernelError;
use crate::ops::row_plan::{BranchWeights, ChannelTops, RowPlan};

static KERNELS: Image = image!("merge_rows");

/// Threads of a block that finds the largest values: channels, and how many share one.
const TOP_THREADS: (usize, usize) = (32, 8);

/// Host plans of one branch: copied to the device, then applied there.
pub(super) fn merge_rows(x: &Tensor, segments: &[RowMerges<'_>]) -> Result<Tensor, KernelError> {
    let plan = RowPlan::one_branch(x.dim(0)?, segments, x.device())?;
    apply(x, &plan, &plan.hidden)
}

/// One branch of a plan.
pub(super) fn apply(x: &Tensor, plan: &RowPlan, weights: &BranchWeights) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(x, OP)?;
    let (rows_in, width) = x.dims2()?;
    plan.expect_rows(OP, rows_in)?;
    if let Some(tops) = &weights.tops {
        return with_tops(x, plan, weights, tops);
    }
    let rows = plan.rows_out();
    let out = gpu.empty((rows, width), x.dtype())?;
    let args = arguments(&gpu, x, &out, plan, weights)?;
    let wide = is_wide(&[width], &args[..2]);
    let name = format!("merge_rows_{}{}", if wide { "" } else { "any_" }, suffix(x.dtype(), OP)?);
    gpu.launch(&KERNELS, &name, RowShape::striding(width, wide).grid(rows), &args)?;
    Ok(out)
}

fn arguments(
    gpu: &Gpu,
    x: &Tensor,
    out: &Tensor,
    plan: &RowPlan,
    weights: &BranchWeights,
) -> Result<Vec<Arg>, KernelError> {
    Ok(vec![
        gpu.contiguous(x, OP, "x")?,
        gpu.tensor(out)?,
        Arg::int(plan.rows_out()),
        Arg::int(x.dim(1)?),
        gpu.tensor(plan.keep_of(weights))?,
        gpu.tensor(&plan.edge_off)?,
        gpu.tensor(&plan.edge_src)?,
        gpu.tensor(&weights.edge)?,
        gpu.tensor(&weights.own)?,
    ])
}

/// The hybrid of the released code in some segments: first where the largest values of every channel end, then the groups. Segments of
/// the weighted mean beside them are merged as [`apply`] would, to the bit: a stream may hold those of several strategies.
fn with_tops(x: &Tensor, plan: &RowPlan, weights: &BranchWeights, tops: &ChannelTops) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(x, OP)?;
    let (segments, width) = (tops.kept.elem_count(), x.dim(1)?);
    let ends = gpu.scratch::<u64>(segments * width)?;
    let dtype = suffix(x.dtype(), OP)?;
    let args = [
        gpu.contiguous(x, OP, "x")?,
        Arg::int(width),
        gpu.tensor(&tops.sources)?,
        gpu.tensor(&tops.offsets)?,
        gpu.tensor(&tops.kept)?,
        gpu.address(&ends),
    ];
    let blocks = (segments, width.div_ceil(TOP_THREADS.0), 1);
    let grid = Grid { blocks, threads: TOP_THREADS, shared: 0 };
    gpu.launch(&KERNELS, &format!("channel_top_{dtype}"), grid, &args)?;
    let rows = plan.rows_out();
    let out = gpu.empty((rows, width), x.dtype())?;
    let mut args = arguments(&gpu, x, &out, plan, weights)?;
    let wide = is_wide(&[width], &args[..2]);
    args.extend([gpu.tensor(&tops.row_segment)?, gpu.address(&ends)]);
    let name = format!("merge_rows_top_{}{dtype}", if wide { "" } else { "any_" });
    gpu.launch(&KERNELS, &name, RowShape::striding(width, wide).grid(rows), &args)?;
    Ok(out)
}
