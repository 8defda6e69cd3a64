//! `attn_layer_idx` and `attn_cfg` of `mamba_ssm`: which layers are attention, and `MHA`'s arguments
//! (`mamba_ssm/modules/mha.py`).

use serde_json::json;

use super::error::ConfigError;
use super::fields::Fields;
use super::heads;
use crate::block::MhaConfig;

/// `mlp_dim` is rounded up to a multiple of this.
const MLP_MULTIPLE: usize = 256;

/// Which of `n_layer` layers are attention, in the order of the file.
pub(super) fn layers(fields: &mut Fields, n_layer: usize) -> Result<Vec<usize>, ConfigError> {
    let layers = fields.sizes("attn_layer_idx")?.unwrap_or_default();
    for (place, layer) in layers.iter().enumerate() {
        if *layer >= n_layer {
            return Err(ConfigError::Sizes(format!(
                "`attn_layer_idx` names layer {layer}, but `n_layer` is {n_layer}"
            )));
        }
        if layers[..place].contains(layer) {
            return Err(ConfigError::Sizes(format!("`attn_layer_idx` names layer {layer} twice")));
        }
    }
    Ok(layers)
}

/// Reads `attn_cfg`; what is absent has the defaults of `MHA`.
pub(super) fn parse(fields: &mut Fields, d_model: usize) -> Result<MhaConfig, ConfigError> {
    let heads = fields.required("num_heads")?;
    let head_dim = match fields.size("head_dim")? {
        Some(head_dim) => head_dim,
        None => heads::head_dim(("attn_cfg.num_heads", heads), ("d_model", d_model))?,
    };
    if fields.flag("causal")? != Some(true) {
        return Err(ConfigError::Unsupported {
            key: "attn_cfg.causal".into(),
            value: "false (its default)".into(),
            supported: "true (a token sees itself and those before it)",
        });
    }
    let d_conv = fields.size("d_conv")?.unwrap_or(0);
    if d_conv != 0 && d_conv != 4 {
        return Err(ConfigError::Unsupported {
            key: "attn_cfg.d_conv".into(),
            value: d_conv.to_string(),
            supported: "0 (no convolution), 4",
        });
    }
    fields.only("softmax_scale", &[], "null (scores are divided by the root of `head_dim`)")?;
    fields.only("rotary_emb_interleaved", &[json!(false)], "false (the halves of a head turn together)")?;
    let mlp_dim = fields.size("mlp_dim")?.unwrap_or(0).min(usize::MAX - MLP_MULTIPLE).next_multiple_of(MLP_MULTIPLE);
    Ok(MhaConfig {
        heads,
        kv_heads: fields.size("num_heads_kv")?.unwrap_or(heads),
        head_dim,
        rotary_dim: fields.size("rotary_emb_dim")?.unwrap_or(0),
        rotary_base: fields.float("rotary_emb_base")?.unwrap_or(10_000.0),
        d_conv,
        qkv_bias: fields.flag("qkv_proj_bias")?.unwrap_or(true),
        out_bias: fields.flag("out_proj_bias")?.unwrap_or(true),
        mlp_width: mlp_dim / 2,
    })
}
