//! `FalconH1Config` of transformers: attention beside Mamba-2 in every layer, an MLP after both, and many constants.

use serde_json::json;

use super::{attention, gated_mlp, mamba2, only_silu};
use crate::block::{GatedWeights, GqaFactors, LayerConfig, Mamba2Factors, MixerConfig, MlpConfig, NormKind};
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
    fields.only("mamba_use_mlp", &[json!(true)], "true (an MLP in every layer)")?;
    fields.only("attn_layer_indices", &[], "null (attention in every layer)")?;
    let mut constant = |key: &str| fields.float(key).map(|value| value.unwrap_or(1.0));
    let embedding_factor = constant("embedding_multiplier")?;
    let logit_factor = constant("lm_head_multiplier")?;
    let attention_factors = GqaFactors {
        input: constant("attention_in_multiplier")?,
        scores: 1.0,
        keys: constant("key_multiplier")?,
        output: constant("attention_out_multiplier")?,
    };
    let (ssm_input, ssm_output) = (constant("ssm_in_multiplier")?, constant("ssm_out_multiplier")?);
    let projected = fields.floats::<5>("ssm_multipliers")?.unwrap_or([1.0; 5]);
    let [gate_factor, output_factor] = fields.floats::<2>("mlp_multipliers")?.unwrap_or([1.0; 2]);
    let mut attention = attention(&mut fields, d_model, Some(1.0))?;
    attention.factors = attention_factors;
    let d_ssm = fields.size("mamba_d_ssm")?;
    let mut mamba = mamba2(&mut fields, d_model, d_ssm)?;
    mamba.factors = Mamba2Factors { input: ssm_input, projected, output: ssm_output };
    mamba.norm = fields.flag("mamba_rms_norm")?.unwrap_or(false);
    mamba.norm_before_gate = fields.flag("mamba_norm_before_gate")?.unwrap_or(true);
    mamba.norm_groups = mamba.ngroups;
    mamba.out_bias = fields.flag("projectors_bias")?.unwrap_or(false);
    let bias = fields.flag("mlp_bias")?.unwrap_or(false);
    let width = fields.required("intermediate_size")?;
    let mlp = MlpConfig { gate_factor, output_factor, ..gated_mlp(width, GatedWeights::Separate { bias }) };
    without_effect::only_without_effect(&mut fields)?;
    fields.finish(&[COMMON, HYBRIDS])?;
    let layer = LayerConfig {
        beside: Some(MixerConfig::Gqa(attention)),
        mlp: Some(mlp),
        ..LayerConfig::of(NormKind::Rms, MixerConfig::Mamba2(mamba))
    };
    Ok(ModelConfig {
        architecture: "Falcon-H1",
        d_model,
        vocab_size,
        norm_eps,
        tie_embeddings,
        final_norm: NormKind::Rms,
        embedding_factor,
        logit_factor,
        layers: repeated(layer, n_layer)?,
        naming: &naming::BAMBA,
    })
}
