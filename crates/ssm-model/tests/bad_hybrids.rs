//! What no dialect of a hybrid accepts: the same faults in a configuration of each, refused by the name of the key.

mod common;

use common::golden;
use hint::Hint;
use serde_json::{Map, Value, json};
use ssm_model::ModelConfig;

/// Faults in a list of layers.
struct Layers {
    key: &'static str,
    /// Too short, or with a layer that is not there.
    unfit: Value,
    /// With a kind that the dialect has not; none where the list holds numbers.
    unknown: Option<Value>,
}

const DIALECTS: [&str; 8] = [
    "granite_hybrid_nope",
    "granite_hybrid_rope",
    "bamba",
    "nemotron_h",
    "falcon_h1",
    "jamba_dense",
    "zamba2_adapters",
    "zamba2_rope",
];

fn layers(name: &str) -> Layers {
    let (key, unfit, unknown) = match name {
        "granite_hybrid_nope" | "granite_hybrid_rope" => {
            ("layer_types", json!(["mamba", "attention"]), Some(json!(["mamba", "conv", "mamba", "attention"])))
        }
        "bamba" => ("attn_layer_indices", json!([1, 3]), None),
        "falcon_h1" => ("attn_layer_indices", json!([1]), None),
        "jamba_dense" => ("attn_layer_offset", json!(3), None),
        "nemotron_h" => {
            let unknown = json!(["mamba", "mlp", "hybrid", "mlp", "mamba"]);
            ("layers_block_type", json!(["mamba", "mlp"]), Some(unknown))
        }
        _ => {
            let unknown = json!(["mamba", "attention", "mamba", "hybrid", "hybrid"]);
            ("layers_block_type", json!(["mamba", "hybrid"]), Some(unknown))
        }
    };
    Layers { key, unfit, unknown }
}

/// What a configuration with some settings changed is refused with. Null removes a setting.
fn refusal(name: &str, edits: &[(&str, Value)]) -> String {
    let file = golden(name).dialects[0].1.join("config.json");
    let mut object: Map<String, Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for (key, value) in edits {
        object.insert((*key).to_owned(), value.clone());
    }
    let error = ModelConfig::from_json(&Value::Object(object).to_string()).expect_err(name);
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{name}");
    error.to_string()
}

#[test]
fn heads_that_do_not_divide_are_refused_in_every_dialect() {
    let (heads, kv_heads) = ("num_attention_heads", "num_key_value_heads");
    for name in DIALECTS {
        let width = if name.starts_with("zamba2") { "2 * hidden_size = 64" } else { "hidden_size = 32" };
        let uneven = [(heads, json!(5)), ("head_dim", Value::Null), ("attention_head_dim", Value::Null)];
        assert_eq!(refusal(name, &uneven), format!("{heads} is 5, which does not divide {width}"), "{name}");
        let none = [(heads, json!(0)), ("head_dim", Value::Null)];
        assert_eq!(refusal(name, &none), format!("{heads} is 0, expected 1 to 4096"), "{name}");
        let uneven = [(kv_heads, json!(3))];
        assert_eq!(refusal(name, &uneven), format!("{kv_heads} is 3, which does not divide {heads} = 4"), "{name}");
        assert_eq!(refusal(name, &[(kv_heads, json!(8))]), format!("{kv_heads} is 8, expected 1 to 4"), "{name}");
    }
}

#[test]
fn heads_of_a_scan_that_do_not_divide_are_refused() {
    for (name, key, want) in [
        (
            "granite_hybrid_nope",
            "mamba_n_heads",
            "mamba_n_heads * mamba_d_head is 5 * 8, but the mixers have 64 channels",
        ),
        ("bamba", "mamba_n_heads", "mamba_n_heads * mamba_d_head is 5 * 8, but the mixers have 64 channels"),
        ("falcon_h1", "mamba_n_heads", "mamba_n_heads * mamba_d_head is 5 * 8, but the mixers have 48 channels"),
        ("nemotron_h", "n_groups", "ngroups is 5, which does not divide nheads = 8"),
        ("zamba2_rope", "n_mamba_heads", "n_mamba_heads is 5, which does not divide mamba_expand * hidden_size = 64"),
    ] {
        let mut edits = vec![(key, json!(5)), ("mamba_headdim", Value::Null)];
        edits.extend((name == "nemotron_h").then(|| ("mamba_num_heads", json!(8))));
        assert_eq!(refusal(name, &edits), want, "{name}");
    }
    assert_eq!(
        refusal("zamba2_rope", &[("mamba_headdim", json!(16))]),
        "`mamba_headdim` is 16, but mamba_expand * hidden_size / n_mamba_heads is 8"
    );
}

#[test]
fn positions_that_cannot_be_are_refused_where_heads_turn() {
    for name in ["granite_hybrid_rope", "bamba", "falcon_h1", "zamba2_rope"] {
        let parameters = |share: f64, base: f64| {
            let object = json!({"rope_type": "default", "partial_rotary_factor": share, "rope_theta": base});
            refusal(name, &[("rope_parameters", object), ("partial_rotary_factor", Value::Null)])
        };
        let size = if name == "zamba2_rope" { 16 } else { 8 };
        let odd = format!(
            "partial_rotary_factor turns 1 of the {size} channels of a head, expected an even number of at most all"
        );
        assert_eq!(parameters(1.5 / f64::from(size), 500.0), odd, "{name}");
        assert_eq!(parameters(0.5, 0.5), "rope_theta is 0.5, expected more than 1", "{name}");
        let beyond = parameters(1.5, 500.0);
        assert!(beyond.contains("`partial_rotary_factor`) is 1.5, expected between 0 and 1"), "{name}: {beyond}");
    }
}

#[test]
fn lists_of_layers_that_do_not_fit_are_refused_by_name() {
    for name in DIALECTS {
        let Layers { key, unfit, unknown } = layers(name);
        for list in std::iter::once(unfit).chain(unknown) {
            let mut edits = vec![(key, list.clone()), ("hybrid_layer_ids", Value::Null)];
            // Where it is there, a list must have its length.
            edits.extend((name == "nemotron_h").then(|| ("num_hidden_layers", json!(5))));
            let error = refusal(name, &edits);
            assert!(error.contains(&format!("`{key}`")), "{name} {list}: {error}");
        }
    }
    let pattern = |text: &str| {
        refusal(
            "nemotron_h",
            &[
                ("layers_block_type", Value::Null),
                ("hybrid_override_pattern", json!(text)),
                ("num_hidden_layers", json!(5)),
            ],
        )
    };
    assert_eq!(pattern("M-*"), "`hybrid_override_pattern` names 3 layers, but `num_hidden_layers` is 5");
    assert_eq!(
        pattern("M-X-M"),
        "`hybrid_override_pattern` = \"X\" is not supported; supported: M (Mamba-2), * (attention), - (MLP)"
    );
    assert_eq!(
        refusal("zamba2_rope", &[("hybrid_layer_ids", json!([1, 3]))]),
        "`hybrid_layer_ids` and `layers_block_type` name other layers"
    );
    assert_eq!(refusal("zamba2_rope", &[("num_mem_blocks", json!(0))]), "num_mem_blocks is 0, expected 1 to 5");
    assert_eq!(refusal("zamba2_rope", &[("layers_block_type", Value::Null)]), "`layers_block_type` is missing");
}

/// Settings of `mamba_ssm` in a file of transformers, and the other way round.
#[test]
fn a_mixture_of_dialects_is_refused_by_the_keys_of_the_other() {
    for name in DIALECTS {
        let edits =
            [("attn_layer_idx", json!([1])), ("d_intermediate", json!(8)), ("ssm_cfg", json!({"layer": "Mamba2"}))];
        assert_eq!(refusal(name, &edits), "unknown settings `attn_layer_idx`, `d_intermediate`, `ssm_cfg`", "{name}");
        // Without its type it has no dialect at all.
        let error = refusal(name, &[("model_type", Value::Null)]);
        assert!(error.starts_with("neither `d_model`") || error.contains("`model_type`"), "{name}: {error}");
    }
    for key in ["layer_types", "layers_block_type", "attn_layer_indices", "num_attention_heads", "num_mem_blocks"] {
        let text = format!(
            r#"{{"d_model": 64, "n_layer": 2, "vocab_size": 8, "ssm_cfg": {{"layer": "Mamba2"}}, "{key}": 1}}"#
        );
        assert_eq!(ModelConfig::from_json(&text).unwrap_err().to_string(), format!("unknown setting `{key}`"));
    }
}

#[test]
fn a_sliding_window_is_refused_in_every_dialect() {
    for name in DIALECTS {
        assert_eq!(
            refusal(name, &[("sliding_window", json!(128))]),
            "`sliding_window` = 128 is not supported; supported: null (every token sees all before it)",
            "{name}"
        );
    }
}

#[test]
fn what_zamba2_may_have_and_is_not_built_is_refused_by_name() {
    for (key, value, supported) in [
        ("add_bias_linear", json!(true), "false (no biases)"),
        ("use_long_context", json!(true), "false (positions are not stretched)"),
        ("use_conv_bias", json!(false), "true (upstream's convolutions have one)"),
        ("time_step_limit", json!([0.0, 1.0]), "null (`time_step_min` alone bounds dt)"),
    ] {
        let want = format!("`{key}` = {value} is not supported; supported: {supported}");
        assert_eq!(refusal("zamba2_adapters", &[(key, value)]), want);
    }
    assert_eq!(
        refusal("zamba2_adapters", &[("attention_hidden_size", json!(32))]),
        "`attention_hidden_size` is 32, but 2 * hidden_size is 64"
    );
}
