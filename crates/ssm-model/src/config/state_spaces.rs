//! The dialect of `mamba_ssm`: `MambaConfig` of `mamba_ssm/models/config_mamba.py`.

use serde_json::json;

use super::attention;
use super::error::ConfigError;
use super::fields::Fields;
use super::model::{ModelConfig, repeated};
use super::naming;
use super::sizes::within;
use super::without_effect::{self, COMMON, STATE_SPACES, STATE_SPACES_MIXER};
use crate::block::{
    GatedWeights, LayerConfig, Mamba2Config, Mamba2Factors, MambaConfig, MixerConfig, MlpActivation, MlpConfig,
    NormKind, Residual,
};

/// `norm_epsilon` of `MixerModel`, which no config can change; the gated norm of Mamba-2 uses the same value.
const NORM_EPS: f64 = 1e-5;

/// `multiple_of` of `GatedMLP`.
const MLP_MULTIPLE: usize = 128;

pub(super) fn parse(mut fields: Fields) -> Result<ModelConfig, ConfigError> {
    let d_model = fields.required("d_model")?;
    let n_layer = fields.required("n_layer")?;
    let vocab_size = fields.required("vocab_size")?;
    let multiple = fields.size("pad_vocab_size_multiple")?.unwrap_or(8);
    let tie_embeddings = fields.flag("tie_embeddings")?.unwrap_or(true);
    fields.only("rms_norm", &[json!(true)], "true")?;
    let mlp = parse_mlp(fields.size("d_intermediate")?.unwrap_or(0))?;
    let mut nested = fields.object("ssm_cfg", "ssm_cfg.")?;
    let mixer = parse_mixer(&mut nested, d_model)?;
    fields.close(nested, STATE_SPACES_MIXER);
    let layer = LayerConfig { mlp, ..LayerConfig::of(NormKind::Rms, mixer) };
    let mut layers = repeated(layer.clone(), n_layer)?;
    let attention_layers = attention::layers(&mut fields, n_layer)?;
    if !attention_layers.is_empty() {
        let mut nested = fields.object("attn_cfg", "attn_cfg.")?;
        let attention = MixerConfig::Mha(attention::parse(&mut nested, d_model)?);
        fields.close(nested, &[]);
        for index in &attention_layers {
            layers[*index].mixer = attention.clone();
        }
    }
    without_effect::only_without_effect(&mut fields)?;
    fields.finish(&[COMMON, STATE_SPACES])?;
    if multiple == 0 {
        return Err(ConfigError::Sizes("`pad_vocab_size_multiple` is 0".into()));
    }
    let vocab_size = vocab_size
        .checked_next_multiple_of(multiple)
        .ok_or_else(|| ConfigError::Sizes(format!("`vocab_size` is {vocab_size}, which cannot be padded")))?;
    let architecture = match (attention_layers.len(), &layer.mixer) {
        (0, _) => layer.kind(),
        (attention, _) if attention == n_layer => "Transformer",
        (_, MixerConfig::Mamba2(_)) => "Mamba-2 and attention",
        _ => "Mamba and attention",
    };
    Ok(ModelConfig {
        architecture,
        d_model,
        vocab_size,
        norm_eps: NORM_EPS,
        tie_embeddings,
        final_norm: NormKind::Rms,
        embedding_factor: 1.0,
        logit_factor: 1.0,
        layers,
        naming: &naming::MAMBA_SSM,
    })
}

/// Every layer has a gated MLP after its mixer where `d_intermediate` is not 0; `GatedMLP` rounds its width up.
fn parse_mlp(d_intermediate: usize) -> Result<Option<MlpConfig>, ConfigError> {
    if d_intermediate == 0 {
        return Ok(None);
    }
    within("d_intermediate", d_intermediate, 1 << 20)?;
    Ok(Some(MlpConfig {
        width: d_intermediate.next_multiple_of(MLP_MULTIPLE),
        activation: MlpActivation::GatedSilu(GatedWeights::MambaSsm),
        residual: Residual::Sequential,
        gate_factor: 1.0,
        output_factor: 1.0,
    }))
}

fn parse_mixer(fields: &mut Fields, d_model: usize) -> Result<MixerConfig, ConfigError> {
    // Checkpoints from before Mamba-2 have no `layer`.
    let layer = fields.text("layer")?.unwrap_or_else(|| "Mamba1".into());
    let d_conv = fields.size("d_conv")?.unwrap_or(4);
    let expand = fields.size("expand")?.unwrap_or(2);
    let conv_bias = fields.flag("conv_bias")?.unwrap_or(true);
    fields.only("bias", &[json!(false)], "false (no bias in the projections)")?;
    let mixer = match layer.as_str() {
        "Mamba1" => {
            let d_state = fields.size("d_state")?.unwrap_or(16);
            let dt_rank = fields.dt_rank("dt_rank", d_model)?;
            MixerConfig::Mamba(MambaConfig { d_state, d_conv, expand, dt_rank, conv_bias, inner_norms: None })
        }
        "Mamba2" => {
            let d_state = fields.size("d_state")?.unwrap_or(128);
            let headdim = fields.size("headdim")?.unwrap_or(64);
            let ngroups = fields.size("ngroups")?.unwrap_or(1);
            let norm_before_gate = fields.flag("norm_before_gate")?.unwrap_or(false);
            let dt_limit = fields.limits("dt_limit")?.unwrap_or((0.0, f32::INFINITY));
            fields.only("rmsnorm", &[json!(true)], "true (a gated norm before the output projection)")?;
            fields.only("D_has_hdim", &[json!(false)], "false (one skip weight a head)")?;
            fields.only("learnable_init_states", &[json!(false)], "false (states start at zero)")?;
            fields.only("activation", &[json!("swish"), json!("silu")], "\"swish\"")?;
            fields.agrees("d_ssm", expand.saturating_mul(d_model), "expand * d_model (no MLP path in the mixer)")?;
            MixerConfig::Mamba2(Mamba2Config {
                d_state,
                d_conv,
                d_inner: expand.saturating_mul(d_model),
                headdim,
                ngroups,
                norm_groups: ngroups,
                norm_before_gate,
                norm: true,
                norm_eps: None,
                dt_limit,
                conv_bias,
                in_bias: false,
                out_bias: false,
                factors: Mamba2Factors::ONE,
            })
        }
        _ => {
            return Err(ConfigError::Unsupported {
                key: "ssm_cfg.layer".into(),
                value: format!("\"{layer}\""),
                supported: "\"Mamba1\", \"Mamba2\"",
            });
        }
    };
    Ok(mixer)
}
