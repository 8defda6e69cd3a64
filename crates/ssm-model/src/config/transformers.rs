//! The dialect of transformers: `MambaConfig`, `FalconMambaConfig` and `Mamba2Config`; and that of flash-linear-attention, which uses
//! the same `model_type` and names of weights, and other names for some settings (`fla/models/mamba`, `fla/models/mamba2`).

use serde_json::json;

use super::error::ConfigError;
use super::fields::Fields;
use super::model::{ModelConfig, repeated};
use super::naming;
use super::without_effect::{self, COMMON, FLASH_LINEAR_ATTENTION, MAMBA};
use super::{gpt_neox, hybrids};
use crate::block::{InnerNorms, LayerConfig, Mamba2Config, Mamba2Factors, MambaConfig, MixerConfig, NormKind};

const SUPPORTED: &str = "\"mamba\", \"mamba2\", \"falcon_mamba\", \"gpt_neox\", \"granitemoehybrid\", \"bamba\", \"nemotron_h\", \"falcon_h1\", \
                         \"jamba\", \"zamba2\"";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mamba,
    FalconMamba,
    Mamba2,
}

pub(super) fn parse(mut fields: Fields) -> Result<ModelConfig, ConfigError> {
    let model_type = fields.text("model_type")?.unwrap_or_default();
    let (default_tie, kind) = match model_type.as_str() {
        "mamba" => (true, Kind::Mamba),
        "falcon_mamba" => (true, Kind::FalconMamba),
        "mamba2" => (false, Kind::Mamba2),
        "gpt_neox" => return gpt_neox::parse(fields),
        _ => {
            return hybrids::parse(&model_type, fields).unwrap_or_else(|| {
                Err(ConfigError::Unsupported {
                    key: "model_type".into(),
                    value: format!("\"{model_type}\""),
                    supported: SUPPORTED,
                })
            });
        }
    };
    let d_model = fields.required("hidden_size")?;
    let n_layer = fields.required("num_hidden_layers")?;
    let vocab_size = fields.required("vocab_size")?;
    // Its configurations write every setting of their own, so that any of them tells.
    let is_of_fla = kind != Kind::FalconMamba && (fields.has("norm_eps") || fields.has("fuse_norm"));
    let (eps, limits) = if is_of_fla { ("norm_eps", "dt_limit") } else { ("layer_norm_epsilon", "time_step_limit") };
    let norm_eps = fields.float(eps)?.unwrap_or(1e-5);
    let tie_embeddings = fields.flag("tie_word_embeddings")?.unwrap_or(default_tie && !is_of_fla);
    let d_state = fields.required("state_size")?;
    let expand = expand(&mut fields, kind, d_model)?;
    let d_conv = fields.size("conv_kernel")?.unwrap_or(4);
    let conv_bias = fields.flag("use_conv_bias")?.unwrap_or(true);
    fields.only("use_bias", &[json!(false)], "false (no bias in the projections)")?;
    fields.only("hidden_act", &[json!("silu"), json!("swish")], "\"silu\"")?;
    fields.only("rms_norm", &[json!(true)], "true")?;
    let d_inner = expand.saturating_mul(d_model);
    fields.agrees("intermediate_size", d_inner, "expand * hidden_size")?;
    fields.agrees("d_inner", d_inner, "expand * hidden_size")?;
    fields.agrees("d_model", d_model, "hidden_size")?;
    fields.agrees("n_layer", n_layer, "num_hidden_layers")?;
    fields.only("ssm_cfg", &[json!({})], "{} (a leftover of conversion)")?;

    let mixer = if kind == Kind::Mamba2 {
        let headdim = fields.size("head_dim")?.unwrap_or(64);
        // Upstream's default, 128, fits one size of model; what the other sizes imply fits all.
        if let Some(num_heads) = fields.size("num_heads")?
            && num_heads.saturating_mul(headdim) != d_inner
        {
            return Err(ConfigError::Sizes(format!(
                "num_heads * head_dim is {num_heads} * {headdim}, but expand * hidden_size is {d_inner}"
            )));
        }
        let ngroups = fields.required("n_groups")?;
        MixerConfig::Mamba2(Mamba2Config {
            d_state,
            d_conv,
            d_inner,
            headdim,
            ngroups,
            norm_groups: match fields.size("norm_groups")? {
                Some(groups) => groups,
                // flash-linear-attention normalises groups apart in training and together afterwards.
                None if is_of_fla && ngroups > 1 => return Err(ConfigError::Missing { key: "norm_groups".into() }),
                None => ngroups,
            },
            norm_before_gate: false,
            norm: true,
            norm_eps: None,
            dt_limit: fields.limits(limits)?.unwrap_or((0.0, f32::INFINITY)),
            conv_bias,
            in_bias: false,
            out_bias: false,
            factors: Mamba2Factors::ONE,
        })
    } else {
        let dt_rank = fields.dt_rank("time_step_rank", d_model)?;
        let inner_norms = match kind {
            // The published file omits the default.
            Kind::FalconMamba => {
                Some(InnerNorms { eps: fields.float("mixer_rms_eps")?.unwrap_or(1e-6), weights: false })
            }
            Kind::Mamba | Kind::Mamba2 => None,
        };
        MixerConfig::Mamba(MambaConfig { d_state, d_conv, expand, dt_rank, conv_bias, inner_norms })
    };
    without_effect::only_without_effect(&mut fields)?;
    if is_of_fla {
        fields.only("rmsnorm", &[json!(true)], "true (a gated norm before the output projection)")?;
        fields.only("D_has_hdim", &[json!(false)], "false (one skip weight a head)")?;
        fields.only("norm_before_gate", &[json!(false)], "false (the gate comes first)")?;
        fields.finish(&[COMMON, MAMBA, FLASH_LINEAR_ATTENTION])?;
    } else {
        fields.finish(&[COMMON, MAMBA])?;
    }
    let layer = LayerConfig::of(NormKind::Rms, mixer);
    Ok(ModelConfig {
        architecture: layer.kind(),
        d_model,
        vocab_size,
        norm_eps,
        tie_embeddings,
        final_norm: NormKind::Rms,
        embedding_factor: 1.0,
        logit_factor: 1.0,
        layers: repeated(layer, n_layer)?,
        naming: &naming::MAMBA_SSM,
    })
}

/// `d_inner / d_model`. The file of Falcon-Mamba says `expand` 16 and an `intermediate_size` of twice the width: upstream
/// computes with the second.
fn expand(fields: &mut Fields, kind: Kind, d_model: usize) -> Result<usize, ConfigError> {
    let expand = fields.size("expand")?.unwrap_or(2);
    if kind != Kind::FalconMamba {
        return Ok(expand);
    }
    match fields.size("intermediate_size")? {
        Some(d_inner) if d_model > 0 && d_inner.is_multiple_of(d_model) => Ok(d_inner / d_model),
        Some(d_inner) => Err(ConfigError::Sizes(format!(
            "`intermediate_size` is {d_inner}, expected a multiple of hidden_size = {d_model}"
        ))),
        None => Ok(expand),
    }
}
