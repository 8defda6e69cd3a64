//! Every golden checkpoint and every embedded model opens, holds exactly what its config implies, and is the same model
//! in every format.

use std::path::{Path, PathBuf};

use ssm_model::catalog::{Family, builtin, builtins, published};
use ssm_model::{Architecture, Checkpoint, ModelConfig, WeightSource};

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

/// The golden folder with one weights file only, beside its config.
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

/// Old checkpoints of a GPT-NeoX hold masks and frequencies besides weights; a tied head may be stored too.
#[test]
fn a_gpt_neox_holds_what_its_config_implies() {
    for model in ["neox_parallel", "neox_sequential"] {
        let mut checkpoint = Checkpoint::open(&golden(model)).unwrap();
        checkpoint.digest().unwrap();
        takes_everything(checkpoint);
    }
}

#[test]
fn dialects_say_the_same_about_a_model() {
    for model in ["mamba1", "mamba2_g1"] {
        let ours = Checkpoint::open(&golden(model)).unwrap().config;
        let theirs = Checkpoint::open(&golden(model).join("hf")).unwrap().config;
        assert_eq!(ours, theirs, "{model}");
    }
}

#[test]
fn dialects_differ_in_the_gated_norm_of_several_groups() {
    let norm_groups = |folder: PathBuf| match Checkpoint::open(&folder).unwrap().config.architecture {
        Architecture::Mamba2(mixer) => (mixer.ngroups, mixer.norm_groups),
        Architecture::Mamba(_) | Architecture::GptNeoX(_) => unreachable!("a Mamba-2 checkpoint"),
    };
    assert_eq!(norm_groups(golden("mamba2_g2")), (2, 2));
    assert_eq!(norm_groups(golden("mamba2_g2/hf")), (2, 1));
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
        let ssm_cfg = match model.family {
            Family::Mamba => "{}",
            Family::Mamba2 => r#"{"layer": "Mamba2"}"#,
            Family::Pythia { .. } => continue,
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
