//! A block of any architecture: branches are added, the sum is normalised, and what stands in the block runs on it.

mod gpt_neox;

use candle_core::Tensor;
use ssm_kernels::{Segments, ops};

use crate::config::{Architecture, ModelConfig};
use crate::error::ModelError;
use crate::loader::Loader;
use crate::mixer::{Mixer, MixerCall};
use crate::model::{Activations, LayerOutput, LayerRequest};
use crate::state::LayerState;

/// One block.
#[derive(Debug)]
pub(crate) enum Block {
    /// Add, norm, mixer: Mamba and Mamba-2.
    Mixer { norm: Tensor, mixer: Mixer },
    /// Attention and MLP.
    GptNeoX(Box<gpt_neox::GptNeoXBlock>),
}

/// The norm before the head.
#[derive(Debug)]
pub(crate) enum FinalNorm {
    /// `RMSNorm`: its weight.
    Rms(Tensor),
    /// `LayerNorm`: weight and bias.
    Layer(Tensor, Tensor),
}

impl Block {
    /// Takes the weights of layer `index`.
    pub(crate) fn load(config: &ModelConfig, weights: &mut Loader<'_>, index: usize) -> Result<Self, ModelError> {
        let prefix = format!("{}.{index}", config.layers_name());
        let mut norm = || weights.placed(&format!("{prefix}.norm.weight"), &[config.d_model]);
        Ok(match &config.architecture {
            Architecture::Mamba(own) => {
                let norm = norm()?;
                Self::Mixer { norm, mixer: Mixer::mamba(config, own, weights, &format!("{prefix}.mixer"))? }
            }
            Architecture::Mamba2(own) => {
                let norm = norm()?;
                Self::Mixer { norm, mixer: Mixer::mamba2(config, own, weights, &format!("{prefix}.mixer"))? }
            }
            Architecture::GptNeoX(own) => {
                Self::GptNeoX(Box::new(gpt_neox::GptNeoXBlock::load(config, own, weights, &prefix)?))
            }
        })
    }

    pub(crate) fn forward(
        &self,
        activations: &Activations,
        segments: &Segments,
        request: LayerRequest<'_>,
        eps: f32,
    ) -> Result<LayerOutput, ModelError> {
        let (norm, mixer) = match self {
            Self::Mixer { norm, mixer } => (norm, mixer),
            Self::GptNeoX(block) => return block.forward(activations, segments, request, eps),
        };
        let (normed, residual) =
            ops::add_rms_norm(&activations.hidden, activations.residual.as_ref(), norm, eps, request.rows)?;
        let call = MixerCall {
            segments,
            initial: request.initial.map(LayerState::recurrent).transpose()?,
            signals: request.signals,
            want_states: request.states,
            time: request.time,
        };
        let output = mixer.forward(&normed, &call)?;
        Ok(LayerOutput {
            activations: Activations { hidden: output.hidden, residual: Some(residual) },
            signals: output.signals,
            state: output.state.map(LayerState::Recurrent),
        })
    }
}

impl FinalNorm {
    pub(crate) fn load(config: &ModelConfig, weights: &mut Loader<'_>) -> Result<Self, ModelError> {
        let mut vector = |name: &str| weights.placed(name, &[config.d_model]);
        Ok(match &config.architecture {
            Architecture::Mamba(_) | Architecture::Mamba2(_) => Self::Rms(vector("backbone.norm_f.weight")?),
            Architecture::GptNeoX(_) => {
                Self::Layer(vector("gpt_neox.final_layer_norm.weight")?, vector("gpt_neox.final_layer_norm.bias")?)
            }
        })
    }

    /// The normalised sum of the branches.
    pub(crate) fn forward(&self, hidden: &Tensor, residual: Option<&Tensor>, eps: f32) -> Result<Tensor, ModelError> {
        let (normed, _) = match self {
            Self::Rms(weight) => ops::add_rms_norm(hidden, residual, weight, eps, None)?,
            Self::Layer(weight, bias) => ops::add_layer_norm(hidden, residual, weight, bias, eps, None)?,
        };
        Ok(normed)
    }
}
