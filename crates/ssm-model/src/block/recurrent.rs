//! What the mixers of Mamba and Mamba-2 share.

use candle_core::{DType, Device, Tensor};

use crate::config::error::ConfigError;
use crate::config::sizes::within;
use crate::error::ModelError;
use crate::loader::Loader;
use crate::state::{LayerState, RecurrentState};

/// Refuses sizes that no mixer with a scan has.
pub(super) fn validate(d_state: usize, d_conv: usize) -> Result<(), ConfigError> {
    within("d_state", d_state, 1 << 13)?;
    within("d_conv", d_conv, 64)
}

/// `[channels, 1, d_conv]` as stored to `[d_conv, channels]` as the convolution reads it, and the bias (zeros if none).
pub(super) fn conv_weights(
    weights: &mut Loader<'_>,
    prefix: &str,
    channels: usize,
    d_conv: usize,
    bias: bool,
) -> Result<(Tensor, Tensor), ModelError> {
    let weight = weights.vector(&format!("{prefix}.conv1d.weight"), &[channels, 1, d_conv])?;
    let weight = weight.squeeze(1)?.t()?.contiguous()?;
    let bias = if bias {
        weights.vector(&format!("{prefix}.conv1d.bias"), &[channels])?
    } else {
        Tensor::zeros(channels, DType::F32, &Device::Cpu)?
    };
    Ok((weights.place(&weight)?, weights.place(&bias)?))
}

/// Lowest rate of a decay. A chunked scan takes differences of running sums of `dt A`, which at minus infinity would be
/// NaN. At this rate a token of any step size that matters (above 1e-28) erases everything before it.
const FASTEST_DECAY: f64 = -1e30;

/// `A = -exp(A_log)`, bounded by [`FASTEST_DECAY`]. `A_log` may be infinite.
pub(super) fn decay_rates(a_log: &Tensor) -> Result<Tensor, ModelError> {
    Ok(a_log.exp()?.neg()?.maximum(FASTEST_DECAY)?)
}

/// Columns `start..start + width` as a matrix of their own, if asked for.
pub(super) fn columns(wanted: bool, x: &Tensor, start: usize, width: usize) -> Result<Option<Tensor>, ModelError> {
    Ok(if wanted { Some(x.narrow(1, start, width)?.contiguous()?) } else { None })
}

/// `y - D x` in float32, where it is asked for: `y`, `x` `[tokens, d_inner]`, `d` one factor per head of as many neighbouring channels, or per
/// channel.
pub(super) fn without_skip(
    wanted: bool,
    y: Option<&Tensor>,
    x: &Tensor,
    d: &Tensor,
) -> Result<Option<Tensor>, ModelError> {
    let Some(y) = y.filter(|_| wanted) else { return Ok(None) };
    let (tokens, d_inner) = y.dims2()?;
    let heads = d.elem_count();
    let by_head = |x: &Tensor| x.to_dtype(DType::F32)?.reshape((tokens, heads, d_inner / heads));
    let skip = by_head(&x.contiguous()?)?.broadcast_mul(&d.to_dtype(DType::F32)?.reshape((1, heads, 1))?)?;
    Ok(Some((by_head(y)? - skip)?.reshape((tokens, d_inner))?))
}

/// The state after a call, where both parts were asked for.
pub(super) fn state(conv: Option<Tensor>, ssm: Option<Tensor>) -> Option<LayerState> {
    conv.zip(ssm).map(|(conv, ssm)| LayerState::Recurrent(RecurrentState { conv, ssm }))
}
