//! `Zamba2Config` of transformers: Mamba-2 in every layer, and in the hybrid layers one of a few shared transformer blocks before it.
//!
//! dt is bounded by `time_step_min` from below, as in transformers 5. Versions before it bounded dt on a CPU and not in the kernels of
//! `mamba_ssm`.

use serde_json::json;

use super::{SCAN, gated_mlp, kinds, of_length};
use crate::block::{
    GatedWeights, GqaConfig, GqaFactors, LayerConfig, Mamba2Config, Mamba2Factors, MixerConfig, MlpActivation,
    MlpConfig, NormKind, SharedBlockConfig,
};
use crate::config::error::ConfigError;
use crate::config::fields::Fields;
use crate::config::model::ModelConfig;
use crate::config::sizes::within;
use crate::config::without_effect::{self, COMMON, HYBRIDS, ZAMBA2};
use crate::config::{gpt_neox, heads, naming, rope};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scan,
    /// A shared transformer block and a scan after it.
    Hybrid,
}

const KINDS: [(&[&str], Kind); 2] = [(SCAN, Kind::Scan), (&["hybrid"], Kind::Hybrid)];
const SUPPORTED: &str = "\"mamba\" (or \"linear_attention\"), \"hybrid\"";

pub(super) fn parse(mut fields: Fields) -> Result<ModelConfig, ConfigError> {
    let d_model = fields.required("hidden_size")?;
    let n_layer = fields.required("num_hidden_layers")?;
    let vocab_size = fields.required("vocab_size")?;
    let norm_eps = fields.float("rms_norm_eps")?.unwrap_or(1e-5);
    let tie_embeddings = fields.flag("tie_word_embeddings")?.unwrap_or(true);
    let list = kinds(&mut fields, &["layers_block_type", "layer_types"], &KINDS, SUPPORTED)?;
    let list = list.ok_or_else(|| ConfigError::Missing { key: "layers_block_type".into() })?;
    of_length(&list, n_layer, "layers_block_type")?;
    let hybrid: Vec<usize> = (0..n_layer).filter(|layer| list[*layer] == Kind::Hybrid).collect();
    if fields.sizes("hybrid_layer_ids")?.is_some_and(|ids| ids != hybrid) {
        return Err(ConfigError::Sizes("`hybrid_layer_ids` and `layers_block_type` name other layers".into()));
    }
    let blocks = fields.size("num_mem_blocks")?.unwrap_or(1);
    within("num_mem_blocks", blocks, n_layer.max(1))?;
    fields.only("add_bias_linear", &[json!(false)], "false (no biases)")?;
    fields.only("use_long_context", &[json!(false)], "false (positions are not stretched)")?;
    let mamba = mamba2(&mut fields, d_model)?;
    let attention = attention(&mut fields, d_model)?;
    let mlp = MlpConfig {
        activation: MlpActivation::GatedGelu(gpt_neox::activation(&mut fields)?),
        ..gated_mlp(
            fields.size("intermediate_size")?.unwrap_or(d_model.saturating_mul(4)),
            GatedWeights::Separate { bias: false },
        )
    };
    let shared = SharedBlockConfig {
        owner: 0,
        usage: 0,
        attention,
        mlp,
        adapter_rank: fields.size("adapter_rank")?.unwrap_or(128),
        attention_adapters: fields.flag("use_shared_attention_adapter")?.unwrap_or(false),
    };
    without_effect::only_without_effect(&mut fields)?;
    fields.finish(&[COMMON, HYBRIDS, ZAMBA2])?;
    let mut layers = vec![LayerConfig::of(NormKind::Rms, MixerConfig::Mamba2(mamba)); n_layer];
    for (usage, layer) in hybrid.iter().enumerate() {
        // Blocks take turns.
        layers[*layer].shared = Some(SharedBlockConfig { owner: hybrid[usage % blocks], usage, ..shared.clone() });
    }
    Ok(ModelConfig {
        architecture: "Zamba2",
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

/// Attention over the sum next to the embeddings: heads are as wide together as both.
fn attention(fields: &mut Fields, d_model: usize) -> Result<GqaConfig, ConfigError> {
    let heads = fields.required("num_attention_heads")?;
    let width = d_model.saturating_mul(2);
    let head_dim = heads::head_dim(("num_attention_heads", heads), ("2 * hidden_size", width))?;
    fields.agrees("attention_hidden_size", width, "2 * hidden_size")?;
    fields.agrees("attention_head_dim", head_dim, "2 * hidden_size / num_attention_heads")?;
    let (rotary_dim, rotary_base) = if fields.flag("use_mem_rope")?.unwrap_or(false) {
        let (share, base) = rope::read(fields, 1.0, 10_000.0)?;
        ((share * head_dim as f64) as usize, base)
    } else {
        // Present in files whose attention encodes no positions.
        let _unread = (fields.take("rope_parameters"), fields.take("rope_theta"), fields.take("rope_scaling"));
        (0, 10_000.0)
    };
    fields.only("sliding_window", &[], "null (every token sees all before it)")?;
    Ok(GqaConfig {
        heads,
        kv_heads: fields.size("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        rotary_dim,
        rotary_base,
        bias: false,
        // Upstream divides scores by the root of half a head.
        factors: GqaFactors { scores: std::f64::consts::SQRT_2, ..GqaFactors::ONE },
    })
}

fn mamba2(fields: &mut Fields, d_model: usize) -> Result<Mamba2Config, ConfigError> {
    let expand = fields.size("mamba_expand")?.unwrap_or(2);
    let d_inner = expand.saturating_mul(d_model);
    let heads = fields.size("n_mamba_heads")?.unwrap_or(8);
    let headdim = heads::head_dim(("n_mamba_heads", heads), ("mamba_expand * hidden_size", d_inner))?;
    fields.agrees("mamba_headdim", headdim, "mamba_expand * hidden_size / n_mamba_heads")?;
    let ngroups = fields.size("mamba_ngroups")?.unwrap_or(1);
    fields.only("use_conv_bias", &[json!(true)], "true (upstream's convolutions have one)")?;
    fields.only("time_step_limit", &[], "null (`time_step_min` alone bounds dt)")?;
    Ok(Mamba2Config {
        d_state: fields.size("mamba_d_state")?.unwrap_or(64),
        d_conv: fields.size("mamba_d_conv")?.unwrap_or(4),
        d_inner,
        headdim,
        ngroups,
        norm_groups: ngroups,
        norm_before_gate: false,
        norm: true,
        // In upstream's code, whatever `rms_norm_eps` is.
        norm_eps: Some(1e-5),
        dt_limit: (fields.float("time_step_min")?.unwrap_or(0.001) as f32, f32::INFINITY),
        conv_bias: true,
        in_bias: false,
        out_bias: false,
        factors: Mamba2Factors::ONE,
    })
}
