//! Decoding: one token of each of some sequences through a whole model, captured once as a CUDA graph.
//!
//! Few rows pass through every product, so a step is bound by the reading of weights and states. Its kernels stream them at the speed
//! of the memory, need no intermediate kernels for norms, and choose the next token on the device; the host reads tokens in blocks.
//!
//! Sums run in another order than those of [`linear`](super::linear), and a branch is added to the residual before it is rounded. The
//! numbers therefore differ from those of a prefill in the last places; a sequence has the same bits in every batch.

mod buffers;
mod graph;
mod launch;
mod product;

use candle_core::Tensor;

use crate::cuda::{Gpu, shared_limit};

pub use graph::Decoder;

/// Most sequences of one graph.
pub const MAX_SEQUENCES: usize = 32;

/// Most static shared memory of a kernel in bytes, rounded up.
const STATIC_SHARED: usize = 2048;

/// Width of the convolution that the kernel is written for: that of every published model.
pub const D_CONV: usize = 4;

/// Weights of a model of Mamba and Mamba-2 layers, on one GPU.
#[derive(Clone, Debug)]
pub struct DecoderWeights {
    /// `[vocab, d_model]`, bfloat16.
    pub embedding: Tensor,
    /// Factor of an embedding.
    pub embedding_factor: f64,
    /// First layer first.
    pub layers: Vec<LayerWeights>,
    /// Weight of the `RMSNorm` before the head: `[d_model]`, float32.
    pub final_norm: Tensor,
    /// `[vocab, d_model]`, bfloat16.
    pub lm_head: Tensor,
    /// Epsilon of the norms before layers and head.
    pub norm_eps: f32,
}

/// One layer: `RMSNorm`, then a mixer.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// `[d_model]`, float32.
    pub norm: Tensor,
    /// The mixer.
    pub mixer: MixerWeights,
}

/// The mixers that there are kernels for.
#[derive(Clone, Debug)]
pub enum MixerWeights {
    /// Of a Mamba, without norms on dt, B and C.
    Mamba(MambaWeights),
    /// Of a Mamba-2 whose gated norm has one group and gates first.
    Mamba2(Mamba2Weights),
}

/// A Mamba mixer. Vectors, `a` and `d` are float32, matrices of products bfloat16.
#[derive(Clone, Debug)]
pub struct MambaWeights {
    /// `[2 * d_inner, d_model]`: x, z.
    pub in_proj: Tensor,
    /// `[D_CONV, d_inner]`
    pub conv_weight: Tensor,
    /// `[d_inner]`
    pub conv_bias: Tensor,
    /// `[dt_rank + 2 * d_state, d_inner]`: dt, B, C.
    pub x_proj: Tensor,
    /// `[d_inner, dt_rank]`
    pub dt_proj: Tensor,
    /// `[d_inner]`
    pub dt_bias: Tensor,
    /// `[d_state, d_inner]`, negative.
    pub a: Tensor,
    /// `[d_inner]`
    pub d: Tensor,
    /// `[d_model, d_inner]`
    pub out_proj: Tensor,
}

/// A Mamba-2 mixer. Vectors are float32, matrices of products bfloat16.
#[derive(Clone, Debug)]
pub struct Mamba2Weights {
    /// `[2 * d_inner + 2 * ngroups * d_state + nheads, d_model]`: z, x, B, C, dt.
    pub in_proj: Tensor,
    /// `[D_CONV, conv_dim]` with `conv_dim = d_inner + 2 * ngroups * d_state`.
    pub conv_weight: Tensor,
    /// `[conv_dim]`
    pub conv_bias: Tensor,
    /// `[nheads]`
    pub dt_bias: Tensor,
    /// `[nheads]`, negative.
    pub a: Tensor,
    /// `[nheads]`
    pub d: Tensor,
    /// `[d_inner]`
    pub gated_norm: Tensor,
    /// Epsilon of the gated norm.
    pub gated_norm_eps: f32,
    /// `[d_model, d_inner]`
    pub out_proj: Tensor,
    /// Channels of a head.
    pub headdim: usize,
    /// Groups of heads that share B and C.
    pub ngroups: usize,
    /// State per channel.
    pub d_state: usize,
    /// Lower and upper bound of dt.
    pub dt_limit: (f32, f32),
}

/// State of a layer before the first step, as prefill returns it.
#[derive(Clone, Debug)]
pub struct MixerState {
    /// The last inputs of the convolution, oldest first: `[sequences, channels, D_CONV]`, float32.
    pub conv: Tensor,
    /// `[sequences, d_inner, d_state]` (Mamba) or `[sequences, nheads, headdim, d_state]` (Mamba-2), float32.
    pub ssm: Tensor,
}

impl MambaWeights {
    fn d_inner(&self) -> usize {
        self.d.elem_count()
    }

    fn d_state(&self) -> usize {
        self.a.elem_count() / self.d_inner()
    }

    fn dt_rank(&self) -> usize {
        self.dt_proj.elem_count() / self.d_inner()
    }

    /// dt, B and C before their use.
    fn maps(&self) -> usize {
        self.dt_rank() + 2 * self.d_state()
    }

    fn refusal(&self) -> Option<String> {
        if self.d_state() != launch::MAMBA_D_STATE {
            let kernel = launch::MAMBA_D_STATE;
            return Some(format!("d_state {}; the kernel is written for {kernel}", self.d_state()));
        }
        let rank = self.dt_rank();
        (!rank.is_multiple_of(launch::WIDE)).then(|| format!("dt_rank {rank} is no multiple of {}", launch::WIDE))
    }
}

impl Mamba2Weights {
    fn nheads(&self) -> usize {
        self.a.elem_count()
    }

    fn d_inner(&self) -> usize {
        self.gated_norm.elem_count()
    }

    fn projected(&self) -> usize {
        self.d_inner() + self.conv_bias.elem_count() + self.nheads()
    }

    fn refusal(&self) -> Option<String> {
        if !launch::MAMBA2_D_STATES.contains(&self.d_state) {
            return Some(format!("d_state {}; there are kernels for {:?}", self.d_state, launch::MAMBA2_D_STATES));
        }
        let most = launch::MAX_HEADDIM;
        (self.headdim > most).then(|| format!("heads of {} channels; the kernel takes up to {most}", self.headdim))
    }
}

impl MixerWeights {
    fn conv_weight(&self) -> &Tensor {
        match self {
            Self::Mamba(mixer) => &mixer.conv_weight,
            Self::Mamba2(mixer) => &mixer.conv_weight,
        }
    }

    /// The convolution that `in_proj` ends with; `ring` has the last inputs. Of a Mamba alone, whose `x_proj` reads what is convolved;
    /// the scan of a Mamba-2 convolves while it waits.
    fn convolution<'a>(&'a self, ring: &'a Tensor) -> Option<product::Convolution<'a>> {
        match self {
            Self::Mamba(mixer) => {
                Some(product::Convolution { weight: &mixer.conv_weight, bias: &mixer.conv_bias, ring })
            }
            Self::Mamba2(_) => None,
        }
    }

    fn projections(&self) -> [&Tensor; 2] {
        match self {
            Self::Mamba(mixer) => [&mixer.in_proj, &mixer.out_proj],
            Self::Mamba2(mixer) => [&mixer.in_proj, &mixer.out_proj],
        }
    }

    fn d_inner(&self) -> usize {
        match self {
            Self::Mamba(mixer) => mixer.d_inner(),
            Self::Mamba2(mixer) => mixer.d_inner(),
        }
    }

    fn d_state(&self) -> usize {
        match self {
            Self::Mamba(mixer) => mixer.d_state(),
            Self::Mamba2(mixer) => mixer.d_state,
        }
    }

    /// Heads; none in a Mamba.
    fn nheads(&self) -> usize {
        match self {
            Self::Mamba(_) => 0,
            Self::Mamba2(mixer) => mixer.nheads(),
        }
    }

    /// What a Mamba projects after its convolution.
    fn maps(&self) -> usize {
        match self {
            Self::Mamba(mixer) => mixer.maps(),
            Self::Mamba2(_) => 0,
        }
    }

    /// Dynamic shared memory of a block of its scan in bytes.
    fn shared(&self) -> usize {
        match self {
            Self::Mamba(mixer) => mixer.shared(),
            Self::Mamba2(mixer) => mixer.shared(),
        }
    }

    /// Why the kernels cannot run this mixer.
    fn refusal(&self) -> Option<String> {
        let d_conv = self.conv_weight().dims().first().copied().unwrap_or(0);
        if d_conv != D_CONV {
            return Some(format!("a convolution over {d_conv} tokens; the kernels are written for {D_CONV}"));
        }
        if !self.d_inner().is_multiple_of(launch::STEP) {
            return Some(format!("d_inner {} is no multiple of {}", self.d_inner(), launch::STEP));
        }
        match self {
            Self::Mamba(mixer) => mixer.refusal(),
            Self::Mamba2(mixer) => mixer.refusal(),
        }
    }

    /// Bytes that a step has to read and write at least.
    fn step_bytes(&self, sequences: usize) -> usize {
        let state = self.d_inner() * self.d_state() * size_of::<f32>();
        let weights = self.projections().map(Tensor::elem_count).iter().sum::<usize>()
            + match self {
                Self::Mamba(mixer) => mixer.x_proj.elem_count() + mixer.dt_proj.elem_count(),
                Self::Mamba2(_) => 0,
            };
        2 * weights + 2 * sequences * state
    }
}

impl DecoderWeights {
    /// Why the kernels cannot run this model, where they cannot.
    #[must_use]
    pub fn refusal(&self, sequences: usize) -> Option<String> {
        let d_model = self.final_norm.elem_count();
        if sequences == 0 || sequences > MAX_SEQUENCES {
            return Some(format!("{sequences} sequences; a graph takes 1 to {MAX_SEQUENCES}"));
        }
        let Ok(device) = self.lm_head.device().as_cuda_device() else { return Some("a graph needs a GPU".to_owned()) };
        let (capability, need) = (Gpu::on(device).capability(), product::CAPABILITY);
        if capability < need {
            let (major, minor) = capability;
            return Some(format!("compute capability {major}.{minor}; the kernels need {}.{}", need.0, need.1));
        }
        let shared = self.layers.iter().map(|layer| layer.mixer.shared()).fold(product::SHARED, usize::max);
        let (shared, room) = (shared + STATIC_SHARED, shared_limit(device));
        if shared > room {
            return Some(format!("{shared} bytes of shared memory for a block; this GPU has {room}"));
        }
        if !d_model.is_multiple_of(launch::STEP) {
            return Some(format!("d_model {d_model} is no multiple of {}", launch::STEP));
        }
        self.layers.iter().find_map(|layer| layer.mixer.refusal())
    }

    /// Bytes that a step has to read and write at least: every weight once, every state twice.
    #[must_use]
    pub fn step_bytes(&self, sequences: usize) -> usize {
        2 * self.lm_head.elem_count() + self.layers.iter().map(|layer| layer.mixer.step_bytes(sequences)).sum::<usize>()
    }
}
