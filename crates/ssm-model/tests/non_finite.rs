//! A weight that holds something else than numbers is refused when it is read, by its name in the file; `A_log` may be infinite.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use hint::Hint;
use ssm_kernels::Segments;
use ssm_model::{Checkpoint, CheckpointError, LanguageModel, ModelError, Placement, catalog};
use tempfile::TempDir;

/// A folder with the weights of an embedded model, one value of one of them replaced, all stored as `dtype`.
fn spoiled(model: &str, name: &str, value: f64, dtype: DType) -> TempDir {
    let builtin = catalog::builtin(model).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), builtin.config_json).unwrap();
    let tensors = candle_core::safetensors::load_buffer(builtin.safetensors, &Device::Cpu).unwrap();
    let tensors: HashMap<String, Tensor> = tensors
        .into_iter()
        .map(|(own, tensor)| {
            let tensor = tensor.to_dtype(DType::F64).unwrap();
            let shape = tensor.dims().to_vec();
            let mut values = tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            if own == name {
                let last = values.len() - 1;
                values[last] = value;
            }
            (own, Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap())
        })
        .collect();
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    folder
}

fn load(folder: &Path) -> Result<LanguageModel, ModelError> {
    let checkpoint = Checkpoint::open(folder)?;
    let mut weights = checkpoint.weights;
    let model = LanguageModel::load(&checkpoint.config, &mut weights, &Placement::cpu())?;
    weights.finish()?;
    Ok(model)
}

/// One tensor of each kind that a layer has, and those around the layers, by their names in the file.
fn kinds(model: &str, layer: &str) -> Vec<String> {
    let tensors = candle_core::safetensors::load_buffer(catalog::builtin(model).unwrap().safetensors, &Device::Cpu);
    let mut names: Vec<String> = tensors.unwrap().into_keys().collect();
    names.sort();
    names.into_iter().filter(|name| !name.contains(".layers.") || name.contains(&format!(".layers.{layer}."))).collect()
}

#[test]
fn every_kind_of_weight_is_refused_by_name_and_place() {
    let mut tried = 0;
    for (model, layer) in [("mamba2-world", "3"), ("mamba-world", "3"), ("neox-world", "1")] {
        for name in kinds(model, layer) {
            for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                if name.ends_with("A_log") && !value.is_nan() {
                    continue;
                }
                tried += 1;
                let folder = spoiled(model, &name, value, DType::F32);
                let error = load(folder.path()).expect_err(&name);
                let text = error.to_string();
                assert!(text.contains(&format!("model.safetensors: weight `{name}` is {value} at [")), "{text}");
                assert!(error.hint().unwrap().contains("checksum"));
                // Nor has it a digest.
                let digest = Checkpoint::open(folder.path()).unwrap().digest().unwrap_err();
                assert!(matches!(digest, CheckpointError::NonFinite { .. }), "{digest}");
            }
        }
    }
    assert!(tried > 60, "{tried}");
}

#[test]
fn every_dtype_is_looked_at_as_it_is_stored() {
    let name = "backbone.layers.3.mixer.dt_bias";
    for dtype in [DType::F64, DType::BF16, DType::F16] {
        let text = load(spoiled("mamba2-world", name, f64::NAN, dtype).path()).unwrap_err().to_string();
        assert!(text.contains(&format!("`{name}` is NaN at [")), "{dtype:?}: {text}");
        assert!(load(spoiled("mamba2-world", name, 0.5, dtype).path()).is_ok(), "{dtype:?}");
    }
    // A number in float64, and none in float32.
    let text = load(spoiled("mamba2-world", name, 1e300, DType::F64).path()).unwrap_err().to_string();
    assert!(text.contains(&format!("`{name}` is inf at [")), "{text}");
}

fn logits(model: &LanguageModel) -> Vec<u32> {
    let tokens: Vec<u32> = (0..150).map(|index| (37 * index + 5) % 1000).collect();
    let segments = Segments::new(&[80, 30, 40], &[None, Some(0), None]).unwrap();
    common::bits(&common::logits(model, &tokens, &segments, None).0)
}

/// `A = -exp(A_log)`: at infinity all that came before a token is forgotten, as at any very large value; at minus infinity
/// nothing is.
#[test]
fn an_infinite_decay_is_a_decay() {
    for model in ["mamba2-world", "mamba-world"] {
        let name = "backbone.layers.3.mixer.A_log";
        let with = |value| logits(&load(spoiled(model, name, value, DType::F32).path()).unwrap());
        let (fast, slow, usual) = (with(f64::INFINITY), with(f64::NEG_INFINITY), with(0.0));
        assert!(fast.iter().chain(&slow).all(|bits| f32::from_bits(*bits).is_finite()), "{model}");
        assert_eq!(fast, with(60.0), "{model}: as any decay that leaves nothing");
        assert_eq!(fast, with(100.0), "{model}: whose rate itself overflows");
        assert_eq!(slow, with(-200.0), "{model}: as any decay that leaves everything");
        assert!(fast != usual && slow != usual && fast != slow, "{model}");
    }
}
