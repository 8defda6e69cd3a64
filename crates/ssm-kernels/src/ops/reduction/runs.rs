use candle_core::{DType, Tensor};

use super::Reduced;
use super::scan_scores::{Values, decay_rates};
use crate::cuda::{Arg, Gpu, Grid, Image, image};
use crate::error::{KernelError, expect_shape};
use crate::ops::row_plan::{BranchWeights, RowPlan};
use crate::segments::Segments;

static KERNELS: Image = image!("merge_runs");

const OP: &str = "merge_runs";
const THREADS: usize = 128;

/// What the scan of a layer did with the rows of a stream.
#[derive(Clone, Copy, Debug)]
pub struct RunScan<'a> {
    /// `[tokens, heads]`, float32 or bfloat16: step sizes before any factor, of heads or, with as many heads as channels, of channels.
    pub dt: &'a Tensor,
    /// `[heads]`, or `[d_state, heads]`, float32: decay rates, below zero.
    pub a: &'a Tensor,
    /// `[tokens, 2]`, float32: factors on the step sizes of the rows, in the decay and in the write; none: all are 1.
    pub times: Option<&'a Tensor>,
}

/// What becomes of the tokens of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunMerge {
    /// Whether the row decays for as long as all its tokens.
    pub decay: bool,
    /// Whether the row writes as much as all its tokens.
    pub write: bool,
    /// Whether the row becomes the mean of its tokens, weighted by what is left of their writes; else the merges of the reduction are as they
    /// were.
    pub merge: bool,
}

/// Weights and time factors of rows that replace runs of tokens: those of `reduced`, each a kept row with its edges, which must hold every
/// removed row. `segments`: those of the stream before it. The factors are [`Reduced::times`]; the weights are the same on both branches.
/// Sums run in float64.
///
/// A step size that is NaN or infinite is noted in [`Reduced::faults`].
///
/// # Errors
/// Tensors that do not fit, a reduction that does not merge, or an error of the device.
pub fn merge_runs(
    reduced: Reduced,
    scan: &RunScan<'_>,
    merge: RunMerge,
    segments: &Segments,
) -> Result<Reduced, KernelError> {
    let Reduced { rows: plan, segments: shortened, faults, .. } = &reduced;
    let gpu = Gpu::of(scan.dt, OP)?;
    let dt = Values::new(&gpu, scan.dt, "dt")?;
    let (n_tokens, rows, heads) = (segments.n_tokens(), plan.rows_out(), dt.width);
    expect_shape(OP, "dt", &[dt.rows], &[n_tokens])?;
    let (rates, own) = decay_rates(&gpu, scan.a, heads, OP)?;
    if let Some(times) = scan.times {
        expect_shape(OP, "times", times.dims(), &[n_tokens, 2])?;
    }
    if !(reduced.merges && plan.is_gathered_by_layers()) {
        return Err(KernelError::Device("merge_runs: expected a reduction that merges by weighted mean".to_owned()));
    }
    expect_shape(OP, "edge_src", plan.edge_src.dims(), &[(n_tokens - rows).max(1)])?;
    let times = gpu.empty((rows, 2), DType::F32)?;
    let weights = merge.merge.then(|| {
        Ok::<_, KernelError>((gpu.empty(plan.edge_src.elem_count(), DType::F32)?, gpu.empty(rows, DType::F32)?))
    });
    let weights = weights.transpose()?;
    let scratch = gpu.scratch::<f64>(2 * n_tokens)?;
    let args = [
        dt.args[0],
        dt.args[1],
        dt.args[2],
        rates,
        Arg::int(heads),
        Arg::int(own),
        scan.times.map_or(Ok(Arg::NULL), |times| gpu.float32(times, OP, "times"))?,
        gpu.tensor(&plan.keep)?,
        gpu.tensor(&plan.edge_off)?,
        gpu.tensor(&plan.edge_src)?,
        gpu.address(&segments.on_device(&gpu)?.offsets),
        gpu.address(&shortened.on_device(&gpu)?.offsets),
        Arg::int(usize::from(merge.decay) + 2 * usize::from(merge.write)),
        Arg::int(n_tokens),
        gpu.address(&scratch),
        weights.as_ref().map_or(Ok(Arg::NULL), |(edge, _)| gpu.tensor(edge))?,
        weights.as_ref().map_or(Ok(Arg::NULL), |(_, own)| gpu.tensor(own))?,
        gpu.tensor(&times)?,
        gpu.tensor(faults)?,
    ];
    gpu.launch(&KERNELS, OP, Grid { blocks: (rows, 1, 1), threads: (THREADS, 1), shared: 8 * heads }, &args)?;
    let rows = match weights {
        Some((edge, own)) => {
            let branch = || BranchWeights { edge: edge.clone(), own: own.clone(), keep: None, tops: None };
            let (keep, edge_off, edge_src) = (plan.keep.clone(), plan.edge_off.clone(), plan.edge_src.clone());
            RowPlan::new(n_tokens, keep, edge_off, edge_src, branch(), branch())?
        }
        None => plan.clone(),
    };
    Ok(Reduced { rows, times: Some(times), ..reduced })
}
