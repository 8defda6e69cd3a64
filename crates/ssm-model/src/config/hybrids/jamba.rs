//! `JambaConfig` of transformers, dense layers alone: Mamba with norms on dt, B and C, attention without positions in some layers, an MLP
//! after each.

use serde_json::json;

use super::{attention, experts, gated_mlp, only_silu};
use crate::block::{GatedWeights, InnerNorms, LayerConfig, MambaConfig, MixerConfig, NormKind};
use crate::config::error::ConfigError;
use crate::config::fields::Fields;
use crate::config::model::{ModelConfig, repeated};
use crate::config::naming;
use crate::config::without_effect::{self, COMMON, HYBRIDS};

pub(super) fn parse(mut fields: Fields) -> Result<ModelConfig, ConfigError> {
    let d_model = fields.required("hidden_size")?;
    let n_layer = fields.required("num_hidden_layers")?;
    let vocab_size = fields.required("vocab_size")?;
    let norm_eps = fields.float("rms_norm_eps")?.unwrap_or(1e-6);
    let tie_embeddings = fields.flag("tie_word_embeddings")?.unwrap_or(false);
    only_silu(&mut fields, "hidden_act")?;
    fields.only("mamba_proj_bias", &[json!(false)], "false (no bias in the projections)")?;
    // Where the experts would be decides nothing as long as there is one.
    let _unread = (fields.take("expert_layer_period"), fields.take("expert_layer_offset"));
    match fields.size("num_experts")? {
        Some(1) => {}
        Some(number) => return Err(experts("num_experts", &number.to_string())),
        None => return Err(experts("num_experts", "16 (its default)")),
    }
    let period = fields.size("attn_layer_period")?.unwrap_or(8);
    let offset = fields.size("attn_layer_offset")?.unwrap_or(4);
    if offset >= period {
        return Err(ConfigError::Sizes(format!(
            "`attn_layer_offset` is {offset}, expected less than `attn_layer_period` = {period}"
        )));
    }
    let attention = attention(&mut fields, d_model, None)?;
    let mamba = MambaConfig {
        d_state: fields.size("mamba_d_state")?.unwrap_or(16),
        d_conv: fields.size("mamba_d_conv")?.unwrap_or(4),
        expand: fields.size("mamba_expand")?.unwrap_or(2),
        dt_rank: fields.dt_rank("mamba_dt_rank", d_model)?,
        conv_bias: fields.flag("mamba_conv_bias")?.unwrap_or(true),
        inner_norms: Some(InnerNorms { eps: norm_eps, weights: true }),
    };
    let mlp = gated_mlp(fields.required("intermediate_size")?, GatedWeights::Separate { bias: false });
    without_effect::only_without_effect(&mut fields)?;
    fields.finish(&[COMMON, HYBRIDS])?;
    let layer = LayerConfig { mlp: Some(mlp), ..LayerConfig::of(NormKind::Rms, MixerConfig::Mamba(mamba)) };
    let mut layers = repeated(layer, n_layer)?;
    for layer in layers.iter_mut().skip(offset).step_by(period) {
        layer.mixer = MixerConfig::Gqa(attention.clone());
    }
    Ok(ModelConfig {
        architecture: "Jamba",
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
