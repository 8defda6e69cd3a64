//! Layers, described and loaded: one file per kind of mixer, and what all kinds share.

mod attend;
mod attention;
mod gqa;
mod kind;
mod layer;
mod layer_kind;
mod linear;
mod mamba;
mod mamba2;
mod mha;
mod mixer;
mod mlp;
mod mlp_layer;
mod norm;
mod recurrent;
mod shared;

pub use attention::AttentionConfig;
pub use gqa::{GqaConfig, GqaFactors};
pub(crate) use layer::Layer;
pub use layer::LayerConfig;
pub use layer_kind::LayerKind;
pub use mamba::{InnerNorms, MambaConfig};
pub use mamba2::{Mamba2Config, Mamba2Factors};
pub use mha::MhaConfig;
pub use mixer::MixerConfig;
pub use mlp::{GatedWeights, MlpActivation, MlpConfig, Residual};
pub use mlp_layer::MlpLayerConfig;
pub(crate) use norm::Norm;
pub use norm::NormKind;
pub use shared::SharedBlockConfig;
pub(crate) use shared::{BLOCK as SHARED_BLOCK, SharedBlocks};
