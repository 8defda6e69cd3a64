//! The hybrids of transformers: layers with a scan, layers with attention, and layers with both.
//!
//! Constants that a model multiplies by (`residual_multiplier`, `ssm_multipliers`, ...) become part of the weights next to them, which computes
//! the same up to rounding; only that of the embeddings is multiplied when it runs.

mod bamba;
mod falcon_h1;
mod granite;
mod jamba;
mod nemotron_h;
mod zamba2;

use serde_json::json;

use super::error::ConfigError;
use super::fields::Fields;
use super::heads;
use super::model::ModelConfig;
use super::rope;
use crate::block::{
    GatedWeights, GqaConfig, GqaFactors, Mamba2Config, Mamba2Factors, MlpActivation, MlpConfig, Residual,
};

/// Reads the configuration of the hybrid with this `model_type`; none for other types.
pub(super) fn parse(model_type: &str, fields: Fields) -> Option<Result<ModelConfig, ConfigError>> {
    Some(match model_type {
        "granitemoehybrid" => granite::parse(fields),
        "bamba" => bamba::parse(fields),
        "nemotron_h" => nemotron_h::parse(fields),
        "falcon_h1" => falcon_h1::parse(fields),
        "jamba" => jamba::parse(fields),
        "zamba2" => zamba2::parse(fields),
        _ => return None,
    })
}

/// What a dialect calls its kinds of layers; versions of transformers use different words for the same kind.
type Words<K> = [(&'static [&'static str], K)];

/// The words of a layer that is a scan alone.
const SCAN: &[&str] = &["mamba", "mamba2", "linear_attention"];
/// The words of a layer that is attention alone.
const ATTENTION: &[&str] = &["attention", "full_attention"];

/// A list of kinds by name. `supported` says which there are.
fn kinds<K: Copy + PartialEq>(
    fields: &mut Fields,
    keys: &[&'static str],
    words: &Words<K>,
    supported: &'static str,
) -> Result<Option<Vec<K>>, ConfigError> {
    let kind = |key: &str, word: &str| match words.iter().find(|(words, _)| words.contains(&word)) {
        Some((_, kind)) => Ok(*kind),
        None if word == "moe" => Err(experts(key, "\"moe\"")),
        None => Err(ConfigError::Unsupported { key: key.to_owned(), value: format!("\"{word}\""), supported }),
    };
    let mut found: Option<Vec<K>> = None;
    for key in keys {
        let Some(words) = fields.words(key)? else { continue };
        let list = words.iter().map(|word| kind(key, word)).collect::<Result<Vec<K>, ConfigError>>()?;
        match &found {
            Some(known) if *known != list => {
                return Err(ConfigError::Sizes(format!("`{key}` and `{}` name other kinds of layers", keys[0])));
            }
            _ => found = Some(list),
        }
    }
    Ok(found)
}

/// Mixtures of experts are refused by name.
fn experts(key: &str, value: &str) -> ConfigError {
    ConfigError::Unsupported {
        key: key.to_owned(),
        value: value.to_owned(),
        supported: "dense MLPs (which experts a token takes depends on a router, which is not implemented)",
    }
}

/// Refuses a list of kinds of another length than the model.
fn of_length<K>(kinds: &[K], n_layer: usize, key: &str) -> Result<(), ConfigError> {
    if kinds.len() == n_layer {
        Ok(())
    } else {
        Err(ConfigError::Sizes(format!("`{key}` names {} layers, but `num_hidden_layers` is {n_layer}", kinds.len())))
    }
}

/// Heads, and whether and how they turn. `share` is the part of a head that turns where the file does not say; none: positions are not encoded.
fn attention(fields: &mut Fields, d_model: usize, share: Option<f64>) -> Result<GqaConfig, ConfigError> {
    let heads = fields.required("num_attention_heads")?;
    let head_dim = match fields.size("head_dim")? {
        Some(head_dim) => head_dim,
        None => heads::head_dim(("num_attention_heads", heads), ("hidden_size", d_model))?,
    };
    let (rotary_dim, rotary_base) = match share {
        Some(share) => {
            let (share, base) = rope::read(fields, share, 10_000.0)?;
            ((share * head_dim as f64) as usize, base)
        }
        None => (0, 10_000.0),
    };
    fields.only("sliding_window", &[], "null (every token sees all before it)")?;
    Ok(GqaConfig {
        heads,
        kv_heads: fields.size("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        rotary_dim,
        rotary_base,
        bias: fields.flag("attention_bias")?.unwrap_or(false),
        factors: GqaFactors::ONE,
    })
}

/// The Mamba-2 mixers of Granite, Bamba and Falcon-H1, whose keys begin with `mamba_`. `d_inner` is given where another key than `mamba_expand`
/// decides it.
fn mamba2(fields: &mut Fields, d_model: usize, d_inner: Option<usize>) -> Result<Mamba2Config, ConfigError> {
    let expand = fields.size("mamba_expand")?.unwrap_or(2);
    let d_inner = d_inner.unwrap_or(expand.saturating_mul(d_model));
    let heads = fields.required("mamba_n_heads")?;
    let headdim = fields.size_or_auto("mamba_d_head")?.unwrap_or(d_inner.checked_div(heads).unwrap_or(0));
    if heads.saturating_mul(headdim) != d_inner {
        return Err(ConfigError::Sizes(format!(
            "mamba_n_heads * mamba_d_head is {heads} * {headdim}, but the mixers have {d_inner} channels"
        )));
    }
    let ngroups = fields.size("mamba_n_groups")?.unwrap_or(1);
    let in_bias = fields.flag("mamba_proj_bias")?.unwrap_or(false);
    Ok(Mamba2Config {
        d_state: fields.required("mamba_d_state")?,
        d_conv: fields.size("mamba_d_conv")?.unwrap_or(4),
        d_inner,
        headdim,
        ngroups,
        // Over all channels, whatever the groups of B and C are.
        norm_groups: 1,
        norm_before_gate: false,
        norm: true,
        norm_eps: None,
        dt_limit: fields.limits("time_step_limit")?.unwrap_or((0.0, f32::INFINITY)),
        conv_bias: fields.flag("mamba_conv_bias")?.unwrap_or(true),
        in_bias,
        out_bias: in_bias,
        factors: Mamba2Factors::ONE,
    })
}

/// The MLP after every mixer, which reads the sum with the mixer's output.
fn gated_mlp(width: usize, weights: GatedWeights) -> MlpConfig {
    MlpConfig {
        width,
        activation: MlpActivation::GatedSilu(weights),
        residual: Residual::Sequential,
        gate_factor: 1.0,
        output_factor: 1.0,
    }
}

/// The activation of all gated MLPs and convolutions here.
fn only_silu(fields: &mut Fields, key: &str) -> Result<(), ConfigError> {
    fields.only(key, &[json!("silu"), json!("swish")], "\"silu\"")
}
