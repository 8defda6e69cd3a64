use candle_core::DType;

use super::{Reduced, TokenState};
use crate::cuda::{Arg, Gpu, Grid, Image, image};
use crate::error::KernelError;
use crate::segments::Segments;

static PROTECT: Image = image!("protect_last");
static SELECT: Image = image!("select_tokens");

const OP: &str = "protect_last";

/// The same rows, of which the last unprotected ones of each segment are protected too, as many as `last` says.
///
/// # Errors
/// Tensors that do not fit, or an error of the device.
pub fn protect_last(tokens: &TokenState, segments: &Segments, last: &[usize]) -> Result<TokenState, KernelError> {
    let gpu = Gpu::of(&tokens.protected, OP)?;
    let rows = segments.n_tokens();
    let (_, protected) = tokens.args(&gpu, OP, rows)?;
    let out = gpu.empty(rows, DType::U8)?;
    let last = gpu.upload(&last.iter().map(|count| *count as i32).collect::<Vec<_>>())?;
    let args = [protected, gpu.address(&segments.on_device(&gpu)?.offsets), gpu.address(&last), gpu.tensor(&out)?];
    gpu.launch(&PROTECT, OP, Grid { blocks: (segments.len(), 1, 1), threads: (1024, 1), shared: 0 }, &args)?;
    Ok(TokenState { sizes: tokens.sizes.clone(), protected: out })
}

/// A reduction of rows some of which were protected for it alone ([`protect_last`]): kept rows are protected as they were in `tokens`.
///
/// # Errors
/// Tensors that do not fit, or an error of the device.
pub fn protect_as(reduced: Reduced, tokens: &TokenState) -> Result<Reduced, KernelError> {
    let gpu = Gpu::of(&reduced.rows.keep, OP)?;
    let rows = reduced.segments.n_tokens();
    let protected = gpu.empty(rows, DType::U8)?;
    let args = [
        gpu.tensor(&reduced.rows.keep)?,
        Arg::int(rows),
        Arg::NULL,
        gpu.tensor(&tokens.protected)?,
        Arg::NULL,
        gpu.tensor(&protected)?,
    ];
    let grid = Grid { blocks: (rows.div_ceil(256), 1, 1), threads: (256, 1), shared: 0 };
    gpu.launch(&SELECT, "gather_tokens", grid, &args)?;
    Ok(Reduced { tokens: TokenState { protected, ..reduced.tokens }, ..reduced })
}
