use candle_core::{DType, Tensor};

use super::TokenState;
use crate::cuda::{Arg, Gpu, Grid, Image, image};
use crate::error::{KernelError, expect_shape};
use crate::segments::Segments;

static KERNELS: Image = image!("rank_sum");

const OP: &str = "rank_sum";
const TILE: usize = 256;

/// One importance of a sum of ranks.
#[derive(Clone, Copy, Debug)]
pub struct RankTerm<'a> {
    /// `[tokens]`, float32: what is ranked.
    pub scores: &'a Tensor,
    /// Whether high scores speak for keeping.
    pub highest: bool,
    /// How much its rank counts.
    pub weight: f64,
}

/// The weighted sum of the ranks of every row among the unprotected rows of its segment, `[tokens]`, float32; NaN where a score is NaN or
/// infinite. `blocks::rank_sum` of the crate reduction-strategies says what ranks are; the bits are the same.
///
/// # Errors
/// No term, tensors that do not fit, or an error of the device.
pub fn rank_sum(terms: &[RankTerm<'_>], tokens: &TokenState, segments: &Segments) -> Result<Tensor, KernelError> {
    let Some(first) = terms.first() else {
        return Err(KernelError::Device(format!("{OP}: no term")));
    };
    let gpu = Gpu::of(first.scores, OP)?;
    let rows = segments.n_tokens();
    let (_, protected) = tokens.args(&gpu, OP, rows)?;
    let (sums, out) = (gpu.scratch::<f64>(rows)?, gpu.empty(rows, DType::F32)?);
    let grid = Grid { blocks: (segments.longest().div_ceil(TILE), segments.len(), 1), threads: (TILE, 1), shared: 0 };
    for (index, term) in terms.iter().enumerate() {
        expect_shape(OP, "scores", term.scores.dims(), &[rows])?;
        let args = [
            gpu.float32(term.scores, OP, "scores")?,
            protected,
            gpu.address(&segments.on_device(&gpu)?.offsets),
            Arg::Double(term.weight),
            Arg::int(usize::from(term.highest)),
            Arg::int(usize::from(index == 0)),
            Arg::int(usize::from(index + 1 == terms.len())),
            gpu.address(&sums),
            gpu.tensor(&out)?,
        ];
        gpu.launch(&KERNELS, "rank_term", grid, &args)?;
    }
    Ok(out)
}
