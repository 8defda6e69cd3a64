//! `NemotronHConfig` of transformers: each layer is one of Mamba-2, attention without positions, or an MLP.

use serde_json::json;

use super::{ATTENTION, SCAN, attention, experts, kinds, of_length, only_silu};
use crate::block::{
    LayerConfig, Mamba2Config, Mamba2Factors, MixerConfig, MlpActivation, MlpConfig, MlpLayerConfig, NormKind, Residual,
};
use crate::config::error::ConfigError;
use crate::config::fields::Fields;
use crate::config::model::ModelConfig;
use crate::config::naming;
use crate::config::without_effect::{self, COMMON, HYBRIDS, NEMOTRON_H};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scan,
    Attention,
    Mlp,
}

const KINDS: [(&[&str], Kind); 3] = [(SCAN, Kind::Scan), (ATTENTION, Kind::Attention), (&["mlp"], Kind::Mlp)];
const SUPPORTED: &str = "\"mamba\" (or \"linear_attention\"), \"attention\" (or \"full_attention\"), \"mlp\"";

pub(super) fn parse(mut fields: Fields) -> Result<ModelConfig, ConfigError> {
    let d_model = fields.required("hidden_size")?;
    let vocab_size = fields.required("vocab_size")?;
    let norm_eps = fields.float("layer_norm_epsilon")?.or(fields.float("rms_norm_eps")?).unwrap_or(1e-5);
    let tie_embeddings = fields.flag("tie_word_embeddings")?.unwrap_or(false);
    let list = layers(&mut fields)?;
    fields.only("mlp_hidden_act", &[json!("relu2")], "\"relu2\"")?;
    only_silu(&mut fields, "mamba_hidden_act")?;
    fields.only("hidden_act", &[json!("silu"), json!("relu2")], "\"silu\" (read by nothing upstream)")?;
    fields.only("num_nextn_predict_layers", &[json!(0)], "0 (one token ahead)")?;
    fields.only("attention_bias", &[json!(false)], "false (upstream's projections have none)")?;
    let attention = attention(&mut fields, d_model, None)?;
    let (heads, headdim) = (fields.required("mamba_num_heads")?, fields.required("mamba_head_dim")?);
    let ngroups = fields.either("n_groups", "mamba_n_groups", Fields::size)?.unwrap_or(8);
    let bias = fields.flag("use_bias")?.unwrap_or(false);
    let lowest = fields.either("time_step_min", "mamba_dt_min", Fields::float)?.unwrap_or(0.001);
    let mamba = Mamba2Config {
        d_state: fields.required("ssm_state_size")?,
        d_conv: fields.either("conv_kernel", "mamba_d_conv", Fields::size)?.unwrap_or(4),
        d_inner: heads.saturating_mul(headdim),
        headdim,
        ngroups,
        norm_groups: ngroups,
        norm_before_gate: false,
        norm: true,
        norm_eps: None,
        // Upstream reads `time_step_limit` and then bounds dt by `time_step_min` from below alone.
        dt_limit: (lowest as f32, f32::INFINITY),
        conv_bias: fields.either("use_conv_bias", "mamba_conv_bias", Fields::flag)?.unwrap_or(true),
        in_bias: bias,
        out_bias: bias,
        factors: Mamba2Factors::ONE,
    };
    let mlp = MlpConfig {
        width: fields.required("intermediate_size")?,
        activation: MlpActivation::SquaredRelu { bias: fields.flag("mlp_bias")?.unwrap_or(false) },
        residual: Residual::Sequential,
        gate_factor: 1.0,
        output_factor: 1.0,
    };
    without_effect::only_without_effect(&mut fields)?;
    fields.finish(&[COMMON, HYBRIDS, NEMOTRON_H])?;
    let layer = |kind: Kind| {
        LayerConfig::of(
            NormKind::Rms,
            match kind {
                Kind::Scan => MixerConfig::Mamba2(mamba.clone()),
                Kind::Attention => MixerConfig::Gqa(attention.clone()),
                Kind::Mlp => MixerConfig::Mlp(MlpLayerConfig(mlp.clone())),
            },
        )
    };
    Ok(ModelConfig {
        architecture: "Nemotron-H",
        d_model,
        vocab_size,
        norm_eps,
        tie_embeddings,
        final_norm: NormKind::Rms,
        embedding_factor: 1.0,
        logit_factor: 1.0,
        layers: list.into_iter().map(layer).collect(),
        naming: &naming::MAMBA_SSM,
    })
}

/// The kinds of the layers: a list of names, or a text with a letter for each layer.
fn layers(fields: &mut Fields) -> Result<Vec<Kind>, ConfigError> {
    let n_layer = fields.size("num_hidden_layers")?;
    let pattern = fields.text("hybrid_override_pattern")?;
    let letters = pattern.map(|pattern| pattern.chars().map(letter).collect::<Result<Vec<Kind>, ConfigError>>());
    let named = kinds(fields, &["layers_block_type", "layer_types"], &KINDS, SUPPORTED)?;
    let (list, key) = match (named, letters.transpose()?) {
        (Some(named), Some(letters)) if named != letters => {
            return Err(ConfigError::Sizes(
                "`hybrid_override_pattern` and `layers_block_type` name other kinds of layers".into(),
            ));
        }
        (Some(list), _) => (list, "layers_block_type"),
        (None, Some(list)) => (list, "hybrid_override_pattern"),
        (None, None) => return Err(ConfigError::Missing { key: "hybrid_override_pattern".into() }),
    };
    if let Some(n_layer) = n_layer {
        of_length(&list, n_layer, key)?;
    }
    Ok(list)
}

fn letter(letter: char) -> Result<Kind, ConfigError> {
    let key = "hybrid_override_pattern";
    match letter {
        'M' => Ok(Kind::Scan),
        '*' => Ok(Kind::Attention),
        '-' => Ok(Kind::Mlp),
        'E' => Err(experts(key, "\"E\"")),
        other => Err(ConfigError::Unsupported {
            key: key.into(),
            value: format!("\"{other}\""),
            supported: "M (Mamba-2), * (attention), - (MLP)",
        }),
    }
}
