//! `GraniteMoeHybridConfig` of transformers: Mamba-2 or attention in each layer, an MLP after it, four constants. Attention usually encodes no
//! positions (`position_embedding_type` `nope`).

use super::{ATTENTION, SCAN, attention, experts, gated_mlp, kinds, mamba2, of_length, only_silu};
use crate::block::{GatedWeights, LayerConfig, MixerConfig, MlpConfig, NormKind};
use crate::config::error::ConfigError;
use crate::config::fields::Fields;
use crate::config::model::{ModelConfig, repeated};
use crate::config::naming;
use crate::config::without_effect::{self, COMMON, HYBRIDS};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scan,
    Attention,
}

const KINDS: [(&[&str], Kind); 2] = [(SCAN, Kind::Scan), (ATTENTION, Kind::Attention)];
const SUPPORTED: &str = "\"mamba\" (or \"linear_attention\"), \"attention\" (or \"full_attention\")";

pub(super) fn parse(mut fields: Fields) -> Result<ModelConfig, ConfigError> {
    let d_model = fields.required("hidden_size")?;
    let n_layer = fields.required("num_hidden_layers")?;
    let vocab_size = fields.required("vocab_size")?;
    let norm_eps = fields.float("rms_norm_eps")?.unwrap_or(1e-6);
    let tie_embeddings = fields.flag("tie_word_embeddings")?.unwrap_or(false);
    only_silu(&mut fields, "hidden_act")?;
    match fields.size("num_local_experts")? {
        Some(0) => {}
        Some(number) => return Err(experts("num_local_experts", &number.to_string())),
        // Upstream's default is 8.
        None => return Err(experts("num_local_experts", "8 (its default)")),
    }
    let list = kinds(&mut fields, &["layer_types", "layers_block_type"], &KINDS, SUPPORTED)?;
    let list = list.map_or_else(|| repeated(Kind::Scan, n_layer), Ok)?;
    of_length(&list, n_layer, "layer_types")?;
    let positions = fields.text("position_embedding_type")?;
    let share = match positions.as_deref() {
        Some("rope") => Some(1.0),
        // Upstream turns nothing for any other word.
        None | Some("nope") => None,
        Some(other) => {
            return Err(ConfigError::Unsupported {
                key: "position_embedding_type".into(),
                value: format!("\"{other}\""),
                supported: "\"rope\", \"nope\", null",
            });
        }
    };
    let mut constant = |key: &str| fields.float(key).map(|value| value.unwrap_or(1.0));
    let residual = constant("residual_multiplier")?;
    let scores = constant("attention_multiplier")?;
    let embedding_factor = constant("embedding_multiplier")?;
    let logit_factor = 1.0 / constant("logits_scaling")?;
    let mut attention = attention(&mut fields, d_model, share)?;
    // Upstream multiplies scores by the constant in the place of one over the root of the head size.
    attention.factors.scores = scores * (attention.head_dim as f64).sqrt();
    attention.factors.output = residual;
    let mut mamba = mamba2(&mut fields, d_model, None)?;
    mamba.factors.output = residual;
    let width = fields.required("shared_intermediate_size")?;
    let mlp = MlpConfig { output_factor: residual, ..gated_mlp(width, GatedWeights::Granite) };
    if share.is_none() {
        // Present in files whose attention encodes no positions.
        let _unread = (fields.take("rope_parameters"), fields.take("rope_theta"), fields.take("rope_scaling"));
    }
    without_effect::only_without_effect(&mut fields)?;
    fields.finish(&[COMMON, HYBRIDS])?;
    let layer = |kind: Kind| {
        let mixer = match kind {
            Kind::Scan => MixerConfig::Mamba2(mamba.clone()),
            Kind::Attention => MixerConfig::Gqa(attention.clone()),
        };
        LayerConfig { mlp: Some(mlp.clone()), ..LayerConfig::of(NormKind::Rms, mixer) }
    };
    Ok(ModelConfig {
        architecture: "Granite hybrid",
        d_model,
        vocab_size,
        norm_eps,
        tie_embeddings,
        final_norm: NormKind::Rms,
        embedding_factor,
        logit_factor,
        layers: list.into_iter().map(layer).collect(),
        naming: &naming::GRANITE_HYBRID,
    })
}
