//! Layers, described and loaded: one file per kind of mixer, and what all kinds share.

mod attend;
mod attention;
mod kind;
mod layer;
mod linear;
mod mamba;
mod mamba2;
mod mha;
mod mixer;
mod mlp;
mod norm;
mod recurrent;

pub use attention::AttentionConfig;
pub(crate) use layer::Layer;
pub use layer::LayerConfig;
pub use mamba::MambaConfig;
pub use mamba2::Mamba2Config;
pub use mha::MhaConfig;
pub use mixer::MixerConfig;
pub use mlp::{MlpActivation, MlpConfig, Residual};
pub(crate) use norm::Norm;
pub use norm::NormKind;
