//! The launches of a step, one function per kernel.

use candle_core::Tensor;

use super::buffers::{Buffers, LayerBuffers};
use super::product::{Product, Squares};
use super::{D_CONV, DecoderWeights, Mamba2Weights, MambaWeights, MixerWeights};
use crate::cuda::{Arg, Gpu, Grid, Image, image};
use crate::error::KernelError;

pub(super) const OP: &str = "decode";

static MAMBA: Image = image!("decode_mamba");
static MAMBA2: Image = image!("decode_mamba2");
static TOKEN: Image = image!("decode_token");

// As in the kernels.
/// Channels, and sequences, of a block of the scan of a Mamba.
const MAMBA_BLOCK: (usize, usize) = (32, 8);
const MAMBA2_THREADS: usize = 256;
const TOKEN_THREADS: usize = 1024;

/// Columns of `x` that a product reads at once.
pub(super) const STEP: usize = 32;
/// Values of bfloat16 that a thread reads at once.
pub(super) const WIDE: usize = 8;
/// States per channel of a Mamba.
pub(super) const MAMBA_D_STATE: usize = 16;
/// States per channel of a Mamba-2 that there are kernels for.
pub(super) const MAMBA2_D_STATES: [usize; 4] = [32, 64, 128, 256];
/// Most channels of a head of a Mamba-2.
pub(super) const MAX_HEADDIM: usize = 128;

impl Mamba2Weights {
    /// Dynamic shared memory of a block of the scan in bytes.
    pub(super) fn shared(&self) -> usize {
        (self.headdim * (self.d_state + 3) + 2 * self.d_state) * size_of::<f32>()
    }
}

impl MambaWeights {
    /// Dynamic shared memory of a block of the scan in bytes.
    pub(super) fn shared(&self) -> usize {
        let (channels, sequences) = MAMBA_BLOCK;
        channels * (self.dt_rank() + WIDE) * size_of::<half::bf16>() + sequences * self.maps() * size_of::<f32>()
    }
}

/// The launches on one GPU.
pub(super) struct Launch<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) weights: &'a DecoderWeights,
    pub(super) buffers: &'a Buffers,
}

impl Launch<'_> {
    /// Starts every sequence at its token: `tokens` is `[sequences]`.
    pub(super) fn embed(&self, tokens: &Tensor) -> Result<(), KernelError> {
        let Self { gpu, weights, buffers } = self;
        let args = [
            gpu.contiguous(&weights.embedding, OP, "embedding")?,
            Arg::Float(weights.embedding_factor as f32),
            gpu.tensor(tokens)?,
            gpu.tensor(&buffers.residual)?,
            gpu.tensor(&self.weights.layers[0].norm)?,
            gpu.tensor(&buffers.normed)?,
            gpu.tensor(&buffers.parts)?,
            Arg::int(weights.final_norm.elem_count()),
            Arg::int(buffers.parts.dims()[1]),
        ];
        let blocks = (buffers.sequences, 1, 1);
        gpu.launch(&TOKEN, "decode_embed", Grid { blocks, threads: (TOKEN_THREADS, 1), shared: 0 }, &args)
    }

    /// All layers, the head, and the choice of the next token, whose embedding is what the next step reads.
    pub(super) fn step(&self, states: &[LayerBuffers]) -> Result<(), KernelError> {
        let Self { weights, buffers, .. } = self;
        let of_residual = || {
            let (parts, width) = (&buffers.parts, weights.final_norm.elem_count());
            Squares { parts, count: buffers.parts.dims()[1], width, eps: weights.norm_eps }
        };
        for (index, (layer, state)) in weights.layers.iter().zip(states).enumerate() {
            let [in_proj, out_proj] = layer.mixer.projections();
            self.product(&Product {
                squares: Some(of_residual()),
                y: Some(&buffers.projected),
                convolution: layer.mixer.convolution(&state.ring),
                ..Product::of(in_proj, &buffers.normed)
            })?;
            let squares = match &layer.mixer {
                MixerWeights::Mamba(mixer) => self.mamba(mixer, state).map(|()| None)?,
                MixerWeights::Mamba2(mixer) => Some(self.mamba2(mixer, state)?),
            };
            let next = weights.layers.get(index + 1);
            self.product(&Product {
                squares,
                next_norm: Some(next.map_or(&weights.final_norm, |next| &next.norm)),
                ..Product::of(out_proj, &buffers.gated)
            })?;
        }
        self.product(&Product {
            squares: Some(of_residual()),
            logits: Some(&buffers.logits),
            ..Product::of(&weights.lm_head, &buffers.normed)
        })?;
        self.choose()
    }

    /// Convolution, scan and gate; returns what the gated norm needs.
    fn mamba2(&self, layer: &Mamba2Weights, state: &LayerBuffers) -> Result<Squares<'_>, KernelError> {
        let Self { gpu, buffers, .. } = self;
        let args = [
            gpu.tensor(&buffers.projected)?,
            gpu.contiguous(&layer.conv_weight, OP, "conv_weight")?,
            gpu.contiguous(&layer.conv_bias, OP, "conv_bias")?,
            gpu.tensor(&state.ring)?,
            gpu.tensor(&buffers.counter)?,
            gpu.contiguous(&layer.dt_bias, OP, "dt_bias")?,
            gpu.contiguous(&layer.a, OP, "a")?,
            gpu.contiguous(&layer.d, OP, "d")?,
            gpu.tensor(&state.ssm)?,
            gpu.contiguous(&layer.gated_norm, OP, "gated_norm")?,
            gpu.tensor(&buffers.gated)?,
            gpu.tensor(&buffers.gated_parts)?,
            Arg::int(layer.projected()),
            Arg::int(layer.headdim),
            Arg::int(layer.ngroups),
            Arg::Float(layer.dt_limit.0),
            Arg::Float(layer.dt_limit.1),
        ];
        let shared = layer.shared();
        let blocks = (layer.nheads(), buffers.sequences, 1);
        let grid = Grid { blocks, threads: (MAMBA2_THREADS, 1), shared };
        gpu.launch(&MAMBA2, &format!("decode_mamba2_{}", layer.d_state), grid, &args)?;
        let (count, width, eps) = (layer.nheads(), layer.d_inner(), layer.gated_norm_eps);
        Ok(Squares { parts: &buffers.gated_parts, count, width, eps })
    }

    /// Projection of dt, B and C, scan and gate.
    fn mamba(&self, layer: &MambaWeights, state: &LayerBuffers) -> Result<(), KernelError> {
        let Self { gpu, buffers, .. } = self;
        self.product(&Product { y: Some(&buffers.maps), ..Product::of(&layer.x_proj, &buffers.convolved) })?;
        let args = [
            gpu.tensor(&buffers.projected)?,
            gpu.tensor(&buffers.convolved)?,
            gpu.tensor(&buffers.maps)?,
            gpu.contiguous(&layer.dt_proj, OP, "dt_proj")?,
            gpu.contiguous(&layer.dt_bias, OP, "dt_bias")?,
            gpu.contiguous(&layer.a, OP, "a")?,
            gpu.contiguous(&layer.d, OP, "d")?,
            gpu.tensor(&state.ssm)?,
            gpu.tensor(&buffers.gated)?,
            Arg::int(layer.d_inner()),
            Arg::int(layer.dt_rank()),
            Arg::int(buffers.sequences),
        ];
        let (channels, sequences) = MAMBA_BLOCK;
        let blocks = (layer.d_inner() / channels, buffers.sequences.div_ceil(sequences), 1);
        let grid = Grid { blocks, threads: (channels * sequences, 1), shared: layer.shared() };
        gpu.launch(&MAMBA, "decode_mamba_scan", grid, &args)
    }

    fn choose(&self) -> Result<(), KernelError> {
        let Self { gpu, weights, buffers } = self;
        let args = [
            gpu.tensor(&buffers.logits)?,
            Arg::int(weights.lm_head.dim(0)?),
            gpu.tensor(&weights.embedding)?,
            Arg::Float(weights.embedding_factor as f32),
            gpu.tensor(&buffers.history)?,
            gpu.tensor(&buffers.counter)?,
            Arg::int(D_CONV),
            Arg::int(buffers.history.dim(0)?),
            gpu.tensor(&buffers.residual)?,
            gpu.tensor(&weights.layers[0].norm)?,
            gpu.tensor(&buffers.normed)?,
            gpu.tensor(&buffers.parts)?,
            Arg::int(weights.final_norm.elem_count()),
            Arg::int(buffers.parts.dims()[1]),
        ];
        let blocks = (buffers.sequences, 1, 1);
        gpu.launch(&TOKEN, "decode_choose", Grid { blocks, threads: (TOKEN_THREADS, 1), shared: 0 }, &args)
    }

    /// Loads every kernel: the driver loads none while a graph is captured.
    pub(super) fn load(&self) -> Result<(), KernelError> {
        let device = self.gpu.device();
        self.load_products()?;
        for layer in &self.weights.layers {
            match &layer.mixer {
                MixerWeights::Mamba(_) => {
                    MAMBA.function(device, "decode_mamba_scan")?;
                }
                MixerWeights::Mamba2(mixer) => {
                    MAMBA2.function(device, &format!("decode_mamba2_{}", mixer.d_state))?;
                }
            }
        }
        TOKEN.function(device, "decode_choose")?;
        Ok(())
    }
}
