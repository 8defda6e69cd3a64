//! Hybrids of transformers: what is read from their configurations, and what is refused by name.

mod common;

use common::{golden, open};
use hint::Hint;
use insta::assert_snapshot;
use serde_json::{Map, Value};
use ssm_model::{LayerConfig, ModelConfig, catalog};

/// The configuration of a fixture with some settings changed; null removes one.
fn edited(name: &str, edits: &[(&str, Value)]) -> String {
    let folder = golden(name).dialects[0].1.join("config.json");
    let mut object: Map<String, Value> = serde_json::from_str(&std::fs::read_to_string(folder).unwrap()).unwrap();
    for (key, value) in edits {
        object.insert((*key).to_owned(), value.clone());
    }
    Value::Object(object).to_string()
}

fn read(name: &str, edits: &[(&str, Value)]) -> ModelConfig {
    ModelConfig::from_json(&edited(name, edits)).unwrap()
}

fn refusal(name: &str, edits: &[(&str, Value)]) -> String {
    let error = ModelConfig::from_json(&edited(name, edits)).unwrap_err();
    format!("{}: {error}\nhint: {}", error.label(), error.hint().unwrap())
}

fn kinds(config: &ModelConfig) -> Vec<&'static str> {
    config.layers.iter().map(LayerConfig::kind).collect()
}

#[test]
fn every_spelling_of_the_kinds_of_layers_is_read() {
    let pattern = [("layers_block_type", Value::Null), ("hybrid_override_pattern", "M-*-M".into())];
    let named = read("nemotron_h", &[]);
    assert_eq!(kinds(&named), ["Mamba-2", "MLP", "attention", "MLP", "Mamba-2"]);
    assert_eq!(named, read("nemotron_h", &pattern));
    let older = [("layer_types", serde_json::json!(["mamba", "attention", "mamba", "attention"]))];
    let granite = read("granite_hybrid_nope", &[]);
    assert_eq!(kinds(&granite), ["Mamba-2", "attention", "Mamba-2", "attention"]);
    assert_eq!(granite, read("granite_hybrid_nope", &older));
    assert_eq!(kinds(&read("bamba", &[])), ["Mamba-2", "attention", "Mamba-2"]);
    assert_eq!(kinds(&read("jamba_dense", &[])), ["Mamba", "attention", "Mamba", "Mamba"]);
    assert_eq!(kinds(&read("falcon_h1", &[])), ["Mamba-2 + attention"; 3]);
    let older = [("layers_block_type", serde_json::json!(["mamba", "hybrid", "mamba", "hybrid", "hybrid"]))];
    let zamba2 = read("zamba2_rope", &[]);
    let both = "Mamba-2 + attention";
    assert_eq!(kinds(&zamba2), ["Mamba-2", both, "Mamba-2", both, both]);
    assert_eq!(zamba2, read("zamba2_rope", &older));
}

#[test]
fn positions_matter_where_heads_turn() {
    assert!(!read("granite_hybrid_nope", &[]).uses_positions() && read("granite_hybrid_rope", &[]).uses_positions());
    assert!(!read("nemotron_h", &[]).uses_positions() && !read("jamba_dense", &[]).uses_positions());
    assert!(read("bamba", &[]).uses_positions() && read("falcon_h1", &[]).uses_positions());
    assert!(read("zamba2_rope", &[]).uses_positions() && !read("zamba2_adapters", &[]).uses_positions());
}

/// Two FLOPs for each weight of a product, and attention beside a scan in the same layer.
#[test]
fn costs_are_those_of_all_parts() {
    let model = open(&golden("falcon_h1").dialects[0].1);
    let config = model.config();
    let products: usize = config
        .weights()
        .iter()
        .filter(|weight| weight.name.starts_with("model.layers.0.") && weight.shape.len() == 2)
        .map(|weight| weight.shape.iter().product::<usize>())
        .sum();
    // Convolution over 72 channels, and the scan of 48 channels with 6 states.
    let scan = 2 * 4 * 72 + 6 * 48 * 6 + 3 * 48;
    assert_eq!(config.layers[0].flops_per_token(32), (2 * products + scan) as u64);
    assert_eq!(config.layers[0].attention_flops_per_pair(32), 4 * 32);
}

/// Layers share a block: its weights are there once, its FLOPs in every layer that uses it.
#[test]
fn a_shared_block_is_stored_once_and_computed_at_every_use() {
    let config = read("zamba2_adapters", &[]);
    let sizes = |prefix: &str| {
        let weights = config.weights();
        let of = weights.iter().filter(|weight| weight.name.starts_with(prefix) && weight.shape.len() == 2);
        of.map(|weight| weight.shape.iter().product::<usize>()).sum::<usize>()
    };
    // Queries, keys and values read twice the width; the adapters of one use, of rank 4.
    let (projections, mlp) = (3 * 64 * 64 + 64 * 32, 3 * 32 * 40);
    let adapters = 3 * 4 * (64 + 64) + 4 * (32 + 80);
    assert_eq!(sizes("model.layers.1.shared_transformer"), projections + mlp + 2 * adapters);
    assert_eq!(sizes("model.layers.3.shared_transformer"), projections + mlp + adapters);
    assert_eq!(sizes("model.layers.4.shared_transformer"), 0);
    let own = |layer: usize| config.layers[layer].flops_per_token(32) - config.layers[0].flops_per_token(32);
    assert_eq!(own(1), 2 * (projections + mlp + adapters + 32 * 32) as u64);
    assert_eq!((own(3), own(4)), (own(1), own(1)));
    let pairs = |layer: usize| config.layers[layer].attention_flops_per_pair(32);
    assert_eq!((pairs(0), pairs(1), pairs(4)), (0, 4 * 64, 4 * 64));
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let experts = [("num_local_experts", 8.into())];
    assert_snapshot!(refusal("granite_hybrid_nope", &experts), @r#"
    unsupported model: `num_local_experts` = 8 is not supported; supported: dense MLPs (which experts a token takes depends on a router, which is not implemented)
    hint: this model computes something that is not implemented here
    "#);
    let experts = [("layers_block_type", Value::Null), ("hybrid_override_pattern", "MEM*-".into())];
    assert_snapshot!(refusal("nemotron_h", &experts), @r#"
    unsupported model: `hybrid_override_pattern` = "E" is not supported; supported: dense MLPs (which experts a token takes depends on a router, which is not implemented)
    hint: this model computes something that is not implemented here
    "#);
    assert_snapshot!(refusal("jamba_dense", &[("num_experts", 16.into())]), @r#"
    unsupported model: `num_experts` = 16 is not supported; supported: dense MLPs (which experts a token takes depends on a router, which is not implemented)
    hint: this model computes something that is not implemented here
    "#);
    assert_snapshot!(refusal("nemotron_h", &[("sliding_window", 128.into())]), @r#"
    unsupported model: `sliding_window` = 128 is not supported; supported: null (every token sees all before it)
    hint: this model computes something that is not implemented here
    "#);
    assert_snapshot!(refusal("granite_hybrid_nope", &[("position_embedding_type", "alibi".into())]), @r#"
    unsupported model: `position_embedding_type` = "alibi" is not supported; supported: "rope", "nope", null
    hint: this model computes something that is not implemented here
    "#);
}

#[test]
fn settings_that_do_not_fit_are_refused_by_name() {
    let short = [("layer_types", serde_json::json!(["mamba", "attention"]))];
    assert_snapshot!(refusal("granite_hybrid_nope", &short), @r#"
    wrong config.json: `layer_types` names 2 layers, but `num_hidden_layers` is 4
    hint: compare the file with the one that was published
    "#);
    let unknown = [("layer_types", serde_json::json!(["mamba", "conv", "mamba", "attention"]))];
    assert_snapshot!(refusal("granite_hybrid_nope", &unknown), @r#"
    unsupported model: `layer_types` = "conv" is not supported; supported: "mamba" (or "linear_attention"), "attention" (or "full_attention")
    hint: this model computes something that is not implemented here
    "#);
    assert_snapshot!(refusal("bamba", &[("attn_layer_indices", serde_json::json!([1, 3]))]), @r#"
    wrong config.json: `attn_layer_indices` names layer 3, but `num_hidden_layers` is 3
    hint: compare the file with the one that was published
    "#);
    assert_snapshot!(refusal("bamba", &[("num_attention_heads", 5.into())]), @r#"
    wrong config.json: num_attention_heads is 5, which does not divide hidden_size = 32
    hint: compare the file with the one that was published
    "#);
    assert_snapshot!(refusal("bamba", &[("num_key_value_heads", 3.into())]), @r#"
    wrong config.json: num_key_value_heads is 3, which does not divide num_attention_heads = 4
    hint: compare the file with the one that was published
    "#);
    assert_snapshot!(refusal("falcon_h1", &[("mamba_n_heads", 5.into())]), @r#"
    wrong config.json: mamba_n_heads * mamba_d_head is 5 * 8, but the mixers have 48 channels
    hint: compare the file with the one that was published
    "#);
    assert_snapshot!(refusal("falcon_h1", &[("ssm_multipliers", serde_json::json!([1.0, 2.0]))]), @r#"
    wrong config.json: `ssm_multipliers` must be a list of five numbers, got [1.0,2.0]
    hint: compare the file with the one that was published
    "#);
    assert_snapshot!(refusal("jamba_dense", &[("attn_layer_offset", 3.into())]), @r#"
    wrong config.json: `attn_layer_offset` is 3, expected less than `attn_layer_period` = 3
    hint: compare the file with the one that was published
    "#);
    let both = [("hybrid_override_pattern", "MM*-M".into())];
    assert_snapshot!(refusal("nemotron_h", &both), @r#"
    wrong config.json: `hybrid_override_pattern` and `layers_block_type` name other kinds of layers
    hint: compare the file with the one that was published
    "#);
    // A dialect of `mamba_ssm` in a file of transformers.
    let mixed = [("ssm_cfg", serde_json::json!({"layer": "Mamba2"})), ("attn_layer_idx", serde_json::json!([1]))];
    assert_snapshot!(refusal("bamba", &mixed), @r#"
    unsupported model: unknown settings `attn_layer_idx`, `ssm_cfg`
    hint: a setting that is not understood may change the model; remove it only if upstream ignores it
    "#);
}

/// Layers by kind of the published hybrids, as their configurations name them, and parameters as their pages give them.
#[test]
fn published_hybrids_have_their_layers_and_sizes() {
    let counted = |name: &str| {
        let config = catalog::find_published(name).unwrap().config().unwrap();
        let of = |kind: &str| kinds(&config).iter().filter(|known| **known == kind).count();
        let layers = [of("Mamba-2"), of("attention"), of("MLP"), of("Mamba-2 + attention")];
        (layers, (config.parameters() as f64 / 1e7).round() / 100.0)
    };
    assert_eq!(counted("nvidia/Nemotron-H-8B-Base-8K"), ([24, 4, 24, 0], 8.10));
    assert_eq!(counted("ibm-ai-platform/Bamba-9B-v1"), ([29, 3, 0, 0], 9.78));
    assert_eq!(counted("tiiuae/Falcon-H1-Tiny-90M-Base"), ([0, 0, 0, 24], 0.09));
    assert_eq!(counted("tiiuae/Falcon-H1-0.5B-Base"), ([0, 0, 0, 36], 0.52));
    assert_eq!(counted("Zyphra/Zamba2-1.2B"), ([32, 0, 0, 6], 1.22));
    assert_eq!(counted("Zyphra/Zamba2-2.7B"), ([45, 0, 0, 9], 2.66));
    assert_eq!(counted("tiiuae/Falcon-H1-1.5B-Base"), ([0, 0, 0, 24], 1.55));
    assert_eq!(counted("tiiuae/Falcon-H1-7B-Base"), ([0, 0, 0, 44], 7.59));
}
