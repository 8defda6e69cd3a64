use candle_core::{DType, Tensor};

use crate::cuda::{Arg, Gpu, Grid, Image, image, is_wide, rows_of, suffix};
use crate::error::KernelError;

static KERNELS: Image = image!("token_scores");

const OP: &str = "token_scores";
/// Rows of a block, a warp each.
const ROWS: usize = 8;

/// How a row becomes one number; see `reduction_strategies::blocks::importance`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreMetric {
    /// Mean of the positive parts.
    Clip,
    /// Mean magnitude.
    L1,
    /// Euclidean norm.
    L2,
    /// Mean.
    Mean,
    /// Largest magnitude.
    LInf,
    /// Mean, the most negative number where it is 0: what the released code of Zhan et al. ranks by (`evit_released`).
    ReleasedMean,
}

/// Of which values the length of a row is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowNorm {
    /// As they are.
    Plain,
    /// Negative ones count as zero.
    Clipped,
}

/// Scores and inverse Euclidean norms (0 for a zero row) of all rows in one read: `(scores, inverse norms)`, float32
/// `[tokens]`, each where asked for. Sums run in float64.
///
/// # Errors
/// A tensor that is not on a GPU, or of a dtype without kernel.
pub fn token_scores(
    x: &Tensor,
    metric: Option<ScoreMetric>,
    norm: Option<RowNorm>,
) -> Result<(Option<Tensor>, Option<Tensor>), KernelError> {
    let gpu = Gpu::of(x, OP)?;
    let (rows, width, ld) = rows_of(x, OP, "x")?;
    let scores = metric.map(|_| gpu.empty(rows, DType::F32)).transpose()?;
    let inverse = norm.map(|_| gpu.empty(rows, DType::F32)).transpose()?;
    let args = [
        gpu.tensor(x)?,
        Arg::long(ld),
        Arg::int(rows),
        Arg::int(width),
        Arg::int(metric.map_or(0, |metric| metric as usize)),
        Arg::int(usize::from(norm == Some(RowNorm::Clipped))),
        gpu.optional(scores.as_ref())?,
        gpu.optional(inverse.as_ref())?,
    ];
    let any = if is_wide(&[width, ld], &args[..1]) { "" } else { "any_" };
    let name = format!("token_scores_{any}{}", suffix(x.dtype(), OP)?);
    let grid = Grid { blocks: (rows.div_ceil(ROWS), 1, 1), threads: (32 * ROWS, 1), shared: 0 };
    gpu.launch(&KERNELS, &name, grid, &args)?;
    Ok((scores, inverse))
}
