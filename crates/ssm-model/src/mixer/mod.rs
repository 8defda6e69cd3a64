//! What stands inside a block: the mixer of Mamba or of Mamba-2.

mod mamba;
mod mamba2;

use candle_core::{DType, Device, Tensor};
use ssm_kernels::Segments;

use crate::config::{Mamba2Config, MambaConfig, ModelConfig};
use crate::error::ModelError;
use crate::loader::Loader;
use crate::signals::{SignalSet, Signals};
use crate::state::RecurrentState;
use crate::time::RowTime;

/// A mixer of either kind.
#[derive(Debug)]
pub(crate) enum Mixer {
    Mamba(mamba::MambaMixer),
    Mamba2(mamba2::Mamba2Mixer),
}

/// Arguments of a mixer besides its input.
pub(crate) struct MixerCall<'a> {
    pub(crate) segments: &'a Segments,
    pub(crate) initial: Option<&'a RecurrentState>,
    pub(crate) signals: SignalSet,
    pub(crate) want_states: bool,
    pub(crate) time: Option<&'a [RowTime]>,
}

/// Output of a mixer: `[tokens, d_model]` and what was asked for besides.
pub(crate) struct MixerOutput {
    pub(crate) hidden: Tensor,
    pub(crate) signals: Signals,
    pub(crate) state: Option<RecurrentState>,
}

impl Mixer {
    /// Takes the weights of a Mamba under `prefix` (for example `backbone.layers.3.mixer`).
    pub(crate) fn mamba(
        config: &ModelConfig,
        mixer: &MambaConfig,
        weights: &mut Loader<'_>,
        prefix: &str,
    ) -> Result<Self, ModelError> {
        Ok(Self::Mamba(mamba::MambaMixer::load(config, mixer, weights, prefix)?))
    }

    /// As [`Mixer::mamba`], of a Mamba-2.
    pub(crate) fn mamba2(
        config: &ModelConfig,
        mixer: &Mamba2Config,
        weights: &mut Loader<'_>,
        prefix: &str,
    ) -> Result<Self, ModelError> {
        Ok(Self::Mamba2(mamba2::Mamba2Mixer::load(config, mixer, weights, prefix)?))
    }

    pub(crate) fn forward(&self, x: &Tensor, call: &MixerCall<'_>) -> Result<MixerOutput, ModelError> {
        match self {
            Self::Mamba(mixer) => mixer.forward(x, call),
            Self::Mamba2(mixer) => mixer.forward(x, call),
        }
    }
}

/// `[channels, 1, d_conv]` as stored to `[d_conv, channels]` as the convolution reads it, and the bias (zeros if none).
fn conv_weights(
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

/// Lowest rate of a decay. A chunked scan takes differences of running sums of `dt A`, which at minus infinity would be no
/// numbers; at this rate a token of any step size that matters (above 1e-28) leaves nothing of what came before it.
const FASTEST_DECAY: f64 = -1e30;

/// `A = -exp(A_log)`, bounded by [`FASTEST_DECAY`]. `A_log` may be infinite.
fn decay_rates(a_log: &Tensor) -> Result<Tensor, ModelError> {
    Ok(a_log.exp()?.neg()?.maximum(FASTEST_DECAY)?)
}

/// Columns `start..start + width` as a matrix of their own, if asked for.
fn columns(wanted: bool, x: &Tensor, start: usize, width: usize) -> Result<Option<Tensor>, ModelError> {
    Ok(if wanted { Some(x.narrow(1, start, width)?.contiguous()?) } else { None })
}
