//! `GPTNeoXConfig` of transformers, in the forms that its versions have written.

use serde_json::json;
use ssm_kernels::ops::Gelu;

use super::error::ConfigError;
use super::fields::Fields;
use super::model::{ModelConfig, repeated};
use super::naming;
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
    let (share, rotary_base) = rotary(&mut fields)?;
    without_effect::only_without_effect(&mut fields)?;
    fields.finish(&[COMMON, GPT_NEOX])?;
    let head_dim = d_model / heads.max(1);
    let rotary_dim = (head_dim as f64 * share) as usize;
    let layer = LayerConfig {
        norm: NormKind::Layer,
        mixer: MixerConfig::Attention(AttentionConfig { heads, rotary_dim, rotary_base, bias: attention_bias }),
        mlp: Some(MlpConfig {
            width: d_mlp,
            activation: MlpActivation::Gelu(activation),
            residual: if parallel_residual { Residual::Parallel } else { Residual::Sequential },
        }),
    };
    Ok(ModelConfig {
        architecture: "GPT-NeoX",
        d_model,
        vocab_size,
        norm_eps,
        tie_embeddings,
        final_norm: NormKind::Layer,
        layers: repeated(layer, n_layer)?,
        naming: &naming::GPT_NEOX,
    })
}

fn activation(fields: &mut Fields) -> Result<Gelu, ConfigError> {
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

/// Share of a head that turns, and the base of its frequencies. Older versions wrote `rotary_pct` and `rotary_emb_base`,
/// later ones `partial_rotary_factor` and `rope_theta`, at the top level or in `rope_parameters`.
fn rotary(fields: &mut Fields) -> Result<(f64, f64), ConfigError> {
    fields.only("rope_scaling", &[], "null (positions are not stretched)")?;
    let mut nested = fields.object("rope_parameters", "rope_parameters.")?;
    nested.only("rope_type", &[json!("default")], "\"default\" (positions are not stretched)")?;
    let share = agreed(&mut nested, fields, "partial_rotary_factor", "rotary_pct")?.unwrap_or(0.25);
    let base = agreed(&mut nested, fields, "rope_theta", "rotary_emb_base")?.unwrap_or(10_000.0);
    fields.close(nested, &[]);
    if (0.0..=1.0).contains(&share) {
        Ok((share, base))
    } else {
        Err(ConfigError::Sizes(format!("rotary_pct is {share}, expected between 0 and 1")))
    }
}

/// A number that `rope_parameters` or the top level may hold, there also under its old name; all that are present must agree.
fn agreed(
    nested: &mut Fields,
    fields: &mut Fields,
    name: &'static str,
    old_name: &'static str,
) -> Result<Option<f64>, ConfigError> {
    let mut value = nested.float(name)?;
    for key in [old_name, name] {
        match value {
            Some(value) => fields.agrees_float(key, value, "the same setting elsewhere")?,
            None => value = fields.float(key)?,
        }
    }
    Ok(value)
}
