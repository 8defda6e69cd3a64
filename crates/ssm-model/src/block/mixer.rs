//! The kinds of mixers.

use super::attention::AttentionConfig;
use super::gqa::GqaConfig;
use super::kind::MixerKind;
use super::mamba::MambaConfig;
use super::mamba2::Mamba2Config;
use super::mha::MhaConfig;
use super::mlp_layer::MlpLayerConfig;
use crate::config::naming::Naming;

/// Kind and sizes of a mixer: the part of a block that lets tokens read each other.
#[derive(Clone, Debug, PartialEq)]
pub enum MixerConfig {
    /// Selective scan with a decay per channel and state (`Mamba1`, `model_type` mamba or `falcon_mamba`).
    Mamba(MambaConfig),
    /// State space duality with a scalar decay per head (`Mamba2`, `model_type` mamba2).
    Mamba2(Mamba2Config),
    /// Causal attention with rotary positions (`model_type` `gpt_neox`).
    Attention(AttentionConfig),
    /// Causal attention with a convolution over queries, keys and values (`attn_layer_idx` of `mamba_ssm`).
    Mha(MhaConfig),
    /// Grouped-query attention (the hybrids of transformers).
    Gqa(GqaConfig),
    /// An MLP in the place of a mixer (Nemotron-H).
    Mlp(MlpLayerConfig),
}

impl MixerConfig {
    /// The one match over kinds.
    pub(super) fn kind(&self) -> &dyn MixerKind {
        match self {
            Self::Mamba(mixer) => mixer,
            Self::Mamba2(mixer) => mixer,
            Self::Attention(mixer) => mixer,
            Self::Mha(mixer) => mixer,
            Self::Gqa(mixer) => mixer,
            Self::Mlp(mixer) => mixer,
        }
    }

    /// What a family of checkpoints calls this mixer in a layer.
    pub(super) fn name_in(&self, naming: &Naming) -> &'static str {
        match self {
            Self::Attention(_) | Self::Mha(_) | Self::Gqa(_) => naming.attention,
            Self::Mamba(_) | Self::Mamba2(_) | Self::Mlp(_) => naming.mixer,
        }
    }
}
