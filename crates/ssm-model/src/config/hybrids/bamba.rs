//! `BambaConfig` of transformers: Mamba-2, attention in the layers of `attn_layer_indices`, an MLP after each.

use serde_json::json;

use super::{attention, gated_mlp, mamba2, only_silu};
use crate::block::{GatedWeights, LayerConfig, MixerConfig, NormKind};
use crate::config::error::ConfigError;
use crate::config::fields::Fields;
use crate::config::model::{ModelConfig, repeated};
use crate::config::naming;
use crate::config::without_effect::{self, COMMON, HYBRIDS};

pub(super) fn parse(mut fields: Fields) -> Result<ModelConfig, ConfigError> {
    let d_model = fields.required("hidden_size")?;
    let n_layer = fields.required("num_hidden_layers")?;
    let vocab_size = fields.required("vocab_size")?;
    let norm_eps = fields.float("rms_norm_eps")?.unwrap_or(1e-5);
    let tie_embeddings = fields.flag("tie_word_embeddings")?.unwrap_or(false);
    only_silu(&mut fields, "hidden_act")?;
    let indices = fields.sizes("attn_layer_indices")?.unwrap_or_default();
    // Half of a head turns, whatever older files say; upstream has it in its code.
    fields.only("attn_rotary_emb", &[json!(64)], "64 (half of a head of 128 channels)")?;
    let attention = attention(&mut fields, d_model, Some(0.5))?;
    let mamba = mamba2(&mut fields, d_model, None)?;
    let bias = fields.flag("mlp_bias")?.unwrap_or(false);
    let mlp = gated_mlp(fields.required("intermediate_size")?, GatedWeights::Separate { bias });
    without_effect::only_without_effect(&mut fields)?;
    fields.finish(&[COMMON, HYBRIDS])?;
    let layer = LayerConfig { mlp: Some(mlp), ..LayerConfig::of(NormKind::Rms, MixerConfig::Mamba2(mamba)) };
    let mut layers = repeated(layer, n_layer)?;
    for index in indices {
        let layer = layers.get_mut(index).ok_or_else(|| {
            ConfigError::Sizes(format!(
                "`attn_layer_indices` names layer {index}, but `num_hidden_layers` is {n_layer}"
            ))
        })?;
        layer.mixer = MixerConfig::Gqa(attention.clone());
    }
    Ok(ModelConfig {
        architecture: "Bamba",
        d_model,
        vocab_size,
        norm_eps,
        tie_embeddings,
        final_norm: NormKind::Rms,
        embedding_factor: 1.0,
        logit_factor: 1.0,
        layers,
        naming: &naming::BAMBA,
    })
}
