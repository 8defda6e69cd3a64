//! Fixtures and comparisons shared by the tests of the models.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use ssm_kernels::Segments;
use ssm_kernels::ops::Gelu;
use ssm_model::checkpoint::Checkpoint;
use ssm_model::{
    AttentionConfig, LanguageModel, LayerConfig, MixerConfig, MlpActivation, MlpConfig, ModelConfig, ModelState,
    NormKind, Placement, RandomWeights, Residual, catalog, shipped,
};

pub(crate) const GOLDEN: [&str; 3] = ["mamba1", "mamba2_g1", "mamba2_g2"];

/// Published architectures beyond those of `mamba_ssm`, as transformers computes them.
pub(crate) const TRANSFORMERS: [&str; 11] = [
    "falcon_mamba",
    "codestral_mamba",
    "granite_hybrid_nope",
    "granite_hybrid_rope",
    "bamba",
    "nemotron_h",
    "falcon_h1",
    "falcon_h1_norm",
    "jamba_dense",
    "zamba2_adapters",
    "zamba2_rope",
];
pub(crate) const NEOX: [&str; 2] = ["neox_parallel", "neox_sequential"];

/// Models with attention in the dialect of `mamba_ssm`: a Transformer, and hybrids of either Mamba.
pub(crate) const HYBRIDS: [&str; 3] = ["mha_transformer", "mha_mamba2", "mha_mamba"];

/// Every golden checkpoint, by its folder: one that is added is tested without a change here.
pub(crate) fn every_golden() -> Vec<String> {
    let folders = std::fs::read_dir(golden_folder()).unwrap().map(|entry| entry.unwrap().path());
    let goldens = folders.filter(|folder| folder.join("reference.safetensors").is_file());
    let mut names: Vec<String> =
        goldens.map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    let known = GOLDEN.into_iter().chain(TRANSFORMERS).chain(NEOX).chain(HYBRIDS).count();
    assert!(names.len() >= known, "only {names:?} are here");
    names
}

/// Tests that were copied to another machine find their fixtures in the folder named in `GOLDEN`.
fn golden_folder() -> PathBuf {
    std::env::var_os("GOLDEN").map_or_else(|| tests().join("golden"), PathBuf::from)
}

pub(crate) struct Golden {
    /// `(name, folder)` of each dialect that the fixture holds.
    pub dialects: Vec<(&'static str, PathBuf)>,
    pub reference: HashMap<String, Tensor>,
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn load(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

pub(crate) fn golden(name: &str) -> Golden {
    let folder = golden_folder().join(name);
    let reference = load(&folder.join("reference.safetensors"));
    let hf = folder.join("hf");
    Golden { dialects: vec![("state-spaces", folder), ("hf", hf)], reference }
}

impl Golden {
    /// Tokens of the reference, and their logits.
    pub(crate) fn whole(&self) -> (&Tensor, &Tensor) {
        let part = |name: &str| self.reference.get(name).unwrap_or_else(|| &self.reference[&format!("{name}.L37")]);
        (part("tokens"), part("logits"))
    }
}

pub(crate) fn open(folder: &Path) -> LanguageModel {
    build(Checkpoint::open(folder).unwrap())
}

fn build(checkpoint: Checkpoint) -> LanguageModel {
    let mut weights = checkpoint.weights;
    let model = LanguageModel::load(&checkpoint.config, &mut weights, &Placement::cpu()).unwrap();
    weights.finish().unwrap();
    model
}

/// An embedded trained model and its stored values.
pub(crate) fn trained(name: &str) -> (LanguageModel, HashMap<String, Tensor>) {
    let checkpoint = match shipped::find(name) {
        Some(shipped) => Checkpoint::open(&shipped.folder().unwrap()),
        None => catalog::builtin(name).unwrap().open(),
    };
    let model = build(checkpoint.unwrap());
    (model, load(&tests().join("trained").join(name).join("logits.safetensors")))
}

/// A small Mamba-2 of random weights whose third layer is an attention with an MLP that reads its output.
pub(crate) fn hybrid() -> LanguageModel {
    let text = r#"{"d_model": 64, "n_layer": 4, "vocab_size": 256, "ssm_cfg": {"layer": "Mamba2", "headdim": 16, "d_state": 16}}"#;
    let mut config = ModelConfig::from_json(text).unwrap();
    config.layers[2] = LayerConfig {
        mlp: Some(MlpConfig {
            width: 96,
            activation: MlpActivation::Gelu(Gelu::Tanh),
            residual: Residual::Sequential,
            gate_factor: 1.0,
            output_factor: 1.0,
        }),
        ..LayerConfig::of(
            NormKind::Rms,
            MixerConfig::Attention(AttentionConfig { heads: 4, rotary_dim: 8, rotary_base: 1e4, bias: false }),
        )
    };
    config.validate().unwrap();
    LanguageModel::load(&config, &mut RandomWeights { seed: 2 }, &Placement::cpu()).unwrap()
}

/// Logits of every row of a packed stream, and the states after it.
pub(crate) fn logits(
    model: &LanguageModel,
    tokens: &[u32],
    segments: &Segments,
    initial: Option<&ModelState>,
) -> (Tensor, ModelState) {
    let (activations, state) = model.prefill(tokens, segments, initial).unwrap();
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    (model.head(&activations, &rows).unwrap(), state)
}

pub(crate) fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

pub(crate) fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|value| value.to_bits()).collect()
}
