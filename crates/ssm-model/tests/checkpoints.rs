//! Every golden checkpoint and every embedded model opens, holds exactly what its config implies, and is the same model
//! in every format.

use std::path::{Path, PathBuf};

use ssm_model::catalog::{Architecture, builtin, builtins, published};
use ssm_model::{Checkpoint, InnerNorms, MixerConfig, ModelConfig, WeightSource};

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

fn takes_everything(mut checkpoint: Checkpoint) {
    for spec in checkpoint.config.weights() {
        let tensor = checkpoint.weights.take(&spec.name, &spec.shape).unwrap();
        assert_eq!(tensor.dims(), spec.shape);
        assert_eq!(tensor.dtype(), candle_core::DType::F32);
        assert!(tensor.is_contiguous());
    }
    checkpoint.weights.finish().unwrap();
}

/// The golden folder with its config and one weights file only.
fn only(model: &str, file: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", file] {
        std::fs::copy(golden(model).join(name), folder.path().join(name)).unwrap();
    }
    folder
}

#[test]
fn formats_and_dialects_hold_the_same_model() {
    for model in ["mamba1", "mamba2_g1", "mamba2_g2"] {
        let pickled = only(model, "pytorch_model.bin");
        let mut digests = vec![Checkpoint::open(pickled.path()).unwrap().digest().unwrap()];
        takes_everything(Checkpoint::open(pickled.path()).unwrap());
        for folder in [golden(model), golden(model).join("hf")] {
            digests.push(Checkpoint::open(&folder).unwrap().digest().unwrap());
            takes_everything(Checkpoint::open(&folder).unwrap());
        }
        digests.dedup();
        assert_eq!(digests.len(), 1, "{model}: {digests:?}");
    }
}

/// Old checkpoints of a GPT-NeoX hold masks and frequencies besides weights; a tied head may be stored too. Falcon-Mamba and
/// Codestral-Mamba have heads of their own.
#[test]
fn checkpoints_of_transformers_hold_what_their_configs_imply() {
    for model in ["neox_parallel", "neox_sequential", "falcon_mamba", "codestral_mamba"] {
        let mut checkpoint = Checkpoint::open(&golden(model)).unwrap();
        checkpoint.digest().unwrap();
        takes_everything(checkpoint);
    }
}

/// A file may hold a block for each layer that uses it. A copy must equal the block.
#[test]
fn a_shared_block_may_be_stored_for_every_layer_that_uses_it() {
    let folder = only("zamba2_adapters", "model.safetensors");
    let path = folder.path().join("model.safetensors");
    let digest = || Checkpoint::open(folder.path()).unwrap().digest().unwrap();
    let once = digest();
    let mut tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
    // Layers 1 and 4 share the first of two blocks.
    let copies: Vec<_> = tensors
        .iter()
        .filter_map(|(name, tensor)| {
            let part = name.strip_prefix("model.layers.1.shared_transformer.")?;
            Some((format!("model.layers.4.shared_transformer.{part}"), tensor.clone()))
        })
        .collect();
    tensors.extend(copies);
    candle_core::safetensors::save(&tensors, &path).unwrap();
    takes_everything(Checkpoint::open(folder.path()).unwrap());
    assert_eq!(once, digest(), "the same model");

    let name = "model.layers.4.shared_transformer.self_attn.o_proj.weight";
    tensors.insert(name.into(), (&tensors[name] * 2.0).unwrap());
    candle_core::safetensors::save(&tensors, &path).unwrap();
    let Checkpoint { config, mut weights, .. } = Checkpoint::open(folder.path()).unwrap();
    for spec in config.weights() {
        weights.take(&spec.name, &spec.shape).unwrap();
    }
    let error = weights.finish().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`model.layers.4.shared_transformer.self_attn.o_proj.weight` differs from \
         `model.layers.1.shared_transformer.self_attn.o_proj.weight`, which it is a copy of"
    );
    assert_eq!(error.label(), "parts that do not fit");
}

#[test]
fn dialects_say_the_same_about_a_model() {
    for model in ["mamba1", "mamba2_g1", "mamba2_g2"] {
        let ours = Checkpoint::open(&golden(model)).unwrap().config;
        let theirs = Checkpoint::open(&golden(model).join("hf")).unwrap().config;
        assert_eq!(ours, theirs, "{model}");
    }
}

/// What flash-linear-attention writes for the same models.
#[test]
fn flash_linear_attention_has_names_of_its_own() {
    const BOTH: &str = r#""vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 3, "norm_eps": 1e-05, "expand": 2, "conv_kernel": 4,
        "use_bias": false, "use_conv_bias": true, "hidden_act": "silu", "residual_in_fp32": true, "rescale_prenorm_residual": true,
        "fuse_norm": true, "fuse_cross_entropy": true, "fuse_linear_cross_entropy": false, "use_l2warp": false, "use_cache": true,
        "initializer_range": 0.02, "tie_word_embeddings": true, "architectures": ["X"], "transformers_version": "4.51.3""#;
    let mamba = format!(
        r#"{{"model_type": "mamba", {BOTH}, "state_size": 16, "intermediate_size": 128, "time_step_rank": 4, "time_step_scale": 1.0,
            "time_step_min": 0.001, "time_step_max": 0.1, "time_step_floor": 0.0001, "time_step_init_scheme": "random"}}"#
    );
    let mamba2 = format!(
        r#"{{"model_type": "mamba2", {BOTH}, "state_size": 32, "head_dim": 16, "num_heads": 8, "n_groups": 1, "A_init_range": [1, 16],
            "D_has_hdim": false, "conv_init": null, "dt_min": 0.001, "dt_max": 0.1, "dt_init_floor": 0.0001, "dt_limit": [0.0, Infinity],
            "rmsnorm": true, "norm_before_gate": false, "chunk_size": 256}}"#
    );
    let read = |text: &str| ModelConfig::from_json(text);
    let theirs = |model: &str| Checkpoint::open(&golden(model).join("hf")).unwrap().config;
    assert_eq!(read(&mamba).unwrap(), theirs("mamba1"));
    assert_eq!(read(&mamba2).unwrap(), theirs("mamba2_g1"));
    assert!(
        !read(&mamba.replace("\"tie_word_embeddings\": true, ", "")).unwrap().tie_embeddings,
        "not as in transformers"
    );
    assert!((read(&mamba.replace("1e-05", "1e-04")).unwrap().norm_eps - 1e-4).abs() < 1e-12);
    let refusal = |from: &str, to: &str| read(&mamba2.replace(from, to)).unwrap_err().to_string();
    assert_eq!(refusal("\"n_groups\": 1", "\"n_groups\": 2"), "`norm_groups` is missing");
    assert_eq!(
        refusal("\"norm_before_gate\": false", "\"norm_before_gate\": true"),
        "`norm_before_gate` = true is not supported; supported: false (the gate comes first)"
    );
    assert_eq!(refusal("\"rmsnorm\": true", "\"attn\": {}, \"window\": 3"), "unknown settings `attn`, `window`");
    let two = read(&mamba2.replace("\"n_groups\": 1", "\"n_groups\": 2, \"norm_groups\": 1")).unwrap();
    let MixerConfig::Mamba2(mixer) = &two.layers[0].mixer else { unreachable!("a Mamba-2") };
    assert_eq!((mixer.ngroups, mixer.norm_groups), (2, 1));
}

/// Earlier versions of transformers normalised all groups as one; who wants their numbers must say so.
#[test]
fn the_gated_norm_of_several_groups_is_per_group_unless_the_config_says_otherwise() {
    let norm_groups = |text: &str| match &ModelConfig::from_json(text).unwrap().layers[0].mixer {
        MixerConfig::Mamba2(mixer) => (mixer.ngroups, mixer.norm_groups),
        other => unreachable!("a Mamba-2 checkpoint, not {other:?}"),
    };
    let text = |path: &str| std::fs::read_to_string(golden(path)).unwrap();
    assert_eq!(norm_groups(&text("mamba2_g2/config.json")), (2, 2));
    let theirs = text("mamba2_g2/hf/config.json");
    assert_eq!(norm_groups(&theirs), (2, 2));
    assert_eq!(norm_groups(&theirs.replacen('{', r#"{"norm_groups": 1,"#, 1)), (2, 1));
}

/// The file on the hub says `expand` 16 and omits `mixer_rms_eps`.
#[test]
fn falcon_mamba_takes_its_width_from_intermediate_size() {
    let config = published().iter().find(|model| model.short_name() == "falcon-mamba-7b").unwrap().config().unwrap();
    let layer = &config.layers[0];
    let MixerConfig::Mamba(mixer) = &layer.mixer else { unreachable!("a Mamba") };
    assert_eq!((layer.d_inner(config.d_model), mixer.expand, mixer.dt_rank), (8192, 2, 256));
    assert_eq!(mixer.inner_norms, Some(InnerNorms { eps: 1e-6, weights: false }));
    assert_eq!((config.vocab_size, config.tie_embeddings, config.architecture), (65024, false, "Falcon-Mamba"));
}

#[test]
fn a_digest_sees_values_and_not_what_was_taken() {
    let mut checkpoint = Checkpoint::open(&golden("mamba1")).unwrap();
    let before = checkpoint.digest().unwrap();
    let config = &checkpoint.config;
    checkpoint.weights.take("backbone.embedding.weight", &[config.vocab_size, config.d_model]).unwrap();
    assert_eq!(checkpoint.digest().unwrap(), before);
    assert_ne!(Checkpoint::open(&golden("mamba2_g1")).unwrap().digest().unwrap(), before);
}

#[test]
fn embedded_models_open() {
    for model in builtins() {
        takes_everything(model.open().unwrap());
    }
    assert_eq!(builtin("mamba-world").unwrap().open().unwrap().config.parameters(), 2_007_168);
    assert_eq!(builtin("mamba2-world").unwrap().open().unwrap().config.parameters(), 2_030_080);
    assert!(builtin("mamba-moon").is_none());
}

/// The sizes in the catalog, run through upstream's defaults, give the parameters in the models' names.
#[test]
fn published_sizes_give_the_parameters_in_the_names() {
    for model in published() {
        let ssm_cfg = match model.architecture {
            Architecture::Mamba => "{}",
            Architecture::Mamba2 => r#"{"layer": "Mamba2"}"#,
            Architecture::FalconMamba
            | Architecture::Codestral
            | Architecture::Mamba2Attention { .. }
            | Architecture::TransformerPlusPlus { .. }
            | Architecture::Hybrid { .. }
            | Architecture::Pythia { .. } => continue,
        };
        let (d_model, n_layer) = (model.d_model, model.n_layer);
        let text =
            format!(r#"{{"d_model": {d_model}, "n_layer": {n_layer}, "vocab_size": 50277, "ssm_cfg": {ssm_cfg}}}"#);
        let parameters = ModelConfig::from_json(&text).unwrap().parameters() as f64;
        let size = model.name.rsplit('-').next().unwrap();
        let (number, unit) = size.split_at(size.len() - 1);
        let named = number.parse::<f64>().unwrap() * if unit == "b" { 1e9 } else { 1e6 };
        assert!((parameters / named - 1.0).abs() < 0.05, "{}: {parameters}", model.name);
    }
}
