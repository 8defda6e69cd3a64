//! `GPTNeoXConfig` of transformers, in the forms that its versions have written.

use ssm_kernels::ops::Gelu;

use super::error::ConfigError;
use super::fields::Fields;
use super::model::{ModelConfig, repeated};
use super::naming;
use super::rope;
use super::without_effect::{self, COMMON, GPT_NEOX};
use crate::block::{AttentionConfig, LayerConfig, MixerConfig, MlpActivation, MlpConfig, NormKind, Residual};

pub(super) fn parse(mut fields: Fields) -> Result<ModelConfig, ConfigError> {
    let d_model = fields.required("hidden_size")?;
    let n_layer = fields.required("num_hidden_layers")?;
    let vocab_size = fields.required("vocab_size")?;
    let heads = fields.required("num_attention_heads")?;
    let d_mlp = fields.required("intermediate_size")?;
    let norm_eps = fields.float("layer_norm_eps")?.unwrap_or(1e-5);
    let tie_embeddings = fields.flag("tie_word_embeddings")?.unwrap_or(false);
    let parallel_residual = fields.flag("use_parallel_residual")?.unwrap_or(true);
    let attention_bias = fields.flag("attention_bias")?.unwrap_or(true);
    let activation = activation(&mut fields)?;
    let (share, rotary_base) = rope::read(&mut fields, 0.25, 10_000.0)?;
    without_effect::only_without_effect(&mut fields)?;
    fields.finish(&[COMMON, GPT_NEOX])?;
    let head_dim = d_model / heads.max(1);
    let rotary_dim = (head_dim as f64 * share) as usize;
    let layer = LayerConfig {
        norm: NormKind::Layer,
        mixer: MixerConfig::Attention(AttentionConfig { heads, rotary_dim, rotary_base, bias: attention_bias }),
        beside: None,
        shared: None,
        mlp: Some(MlpConfig {
            width: d_mlp,
            activation: MlpActivation::Gelu(activation),
            residual: if parallel_residual { Residual::Parallel } else { Residual::Sequential },
            gate_factor: 1.0,
            output_factor: 1.0,
        }),
    };
    Ok(ModelConfig {
        architecture: "GPT-NeoX",
        d_model,
        vocab_size,
        norm_eps,
        tie_embeddings,
        final_norm: NormKind::Layer,
        embedding_factor: 1.0,
        logit_factor: 1.0,
        layers: repeated(layer, n_layer)?,
        naming: &naming::GPT_NEOX,
    })
}

/// Which GELU an MLP has.
pub(super) fn activation(fields: &mut Fields) -> Result<Gelu, ConfigError> {
    match fields.text("hidden_act")?.as_deref() {
        None | Some("gelu") => Ok(Gelu::Exact),
        // Three names of one formula.
        Some("gelu_new" | "gelu_fast" | "gelu_pytorch_tanh") => Ok(Gelu::Tanh),
        Some(other) => Err(ConfigError::Unsupported {
            key: "hidden_act".into(),
            value: format!("\"{other}\""),
            supported: "\"gelu\", \"gelu_new\", \"gelu_fast\", \"gelu_pytorch_tanh\"",
        }),
    }
}
