//! What a step writes, in memory that is the same in every step.

use candle_core::DType::{BF16, F32, U32};
use candle_core::Tensor;

use super::product::Tiling;
use super::{D_CONV, DecoderWeights, LayerWeights, MixerState, MixerWeights};
use crate::cuda::Gpu;
use crate::error::KernelError;

/// What a step writes, one row per sequence.
pub(super) struct Buffers {
    pub(super) sequences: usize,
    /// `[sequences, d_model]`, float32: the residual stream.
    pub(super) residual: Tensor,
    /// `[sequences, d_model]`, bfloat16: the stream times the next norm's weight.
    pub(super) normed: Tensor,
    /// `[sequences, tiles of a product of d_model columns]`, float32: sums of squares of the stream.
    pub(super) parts: Tensor,
    /// `[sequences, projected]`, bfloat16: what `in_proj` gives, but not the x of a Mamba, which is in `convolved`.
    pub(super) projected: Tensor,
    /// `[sequences, d_inner]`, bfloat16: the mixer's output times its norm's weight.
    pub(super) gated: Tensor,
    /// `[sequences, d_inner]`, bfloat16: after the convolution (Mamba).
    pub(super) convolved: Tensor,
    /// `[sequences, dt_rank + 2 * d_state]`, bfloat16: dt, B, C (Mamba).
    pub(super) maps: Tensor,
    /// `[sequences, nheads]`, float32: sums of squares of `gated`, before the weight (Mamba-2).
    pub(super) gated_parts: Tensor,
    /// `[sequences, vocab]`, float32.
    pub(super) logits: Tensor,
    /// `[sequences]`: tokens that each sequence has read.
    pub(super) counter: Tensor,
    /// `[room, sequences]`: chosen tokens.
    pub(super) history: Tensor,
}

/// State of a layer, changed in place.
pub(super) struct LayerBuffers {
    /// `[D_CONV, sequences, conv_dim]`, float32: token `t` at `t % D_CONV`.
    pub(super) ring: Tensor,
    /// `[sequences, nheads, headdim, d_state]` or `[sequences, d_inner, d_state]`, float32.
    pub(super) ssm: Tensor,
}

impl Buffers {
    /// For up to `room` tokens between two looks of the host.
    pub(super) fn new(gpu: &Gpu, weights: &DecoderWeights, sequences: usize, room: usize) -> Result<Self, KernelError> {
        let d_model = weights.final_norm.elem_count();
        let most = |width: fn(&MixerWeights) -> usize| {
            weights.layers.iter().map(|layer: &LayerWeights| width(&layer.mixer)).max().unwrap_or(0)
        };
        let d_inner = most(MixerWeights::d_inner);
        // Every sequence has read `D_CONV` tokens: those of the convolution's first state, at their places in the ring.
        let counter = Tensor::full(D_CONV as u32, sequences, weights.embedding.device())?;
        Ok(Self {
            sequences,
            residual: gpu.empty((sequences, d_model), F32)?,
            normed: gpu.empty((sequences, d_model), BF16)?,
            parts: gpu.empty((sequences, Tiling::of(gpu, d_model).tiles), F32)?,
            projected: gpu.empty((sequences, most(|mixer| mixer.projections()[0].dims()[0])), BF16)?,
            gated: gpu.empty((sequences, d_inner), BF16)?,
            convolved: gpu.empty((sequences, d_inner), BF16)?,
            maps: gpu.empty((sequences, most(MixerWeights::maps)), BF16)?,
            gated_parts: gpu.empty((sequences, most(MixerWeights::nheads)), F32)?,
            logits: gpu.empty((sequences, weights.lm_head.dim(0)?), F32)?,
            counter,
            history: gpu.empty((room, sequences), U32)?,
        })
    }
}

impl LayerBuffers {
    /// Copies of what prefill returned: the last inputs of the convolution become a ring that begins with the oldest.
    pub(super) fn of(state: &MixerState) -> Result<Self, KernelError> {
        let (sequences, channels, d_conv) = state.conv.dims3()?;
        debug_assert_eq!(d_conv, D_CONV, "checked with the weights");
        let ring = state.conv.permute((2, 0, 1))?.reshape((d_conv, sequences, channels))?.force_contiguous()?;
        Ok(Self { ring, ssm: state.ssm.force_contiguous()? })
    }
}
