//! Whole models on a GPU against stored values and against the CPU. Needs a GPU: `just test-gpu`.
#![cfg(feature = "cuda")]

mod common;

use candle_core::{DType, Tensor};
use common::{GOLDEN, Golden, bits, golden, largest_difference};
use ssm_kernels::{Segments, device, host, ops};
use ssm_model::catalog::{Builtin, Family};
use ssm_model::checkpoint::Checkpoint;
use ssm_model::{LanguageModel, Placement, RandomWeights, catalog};

fn on_gpu(dtype: DType) -> Placement {
    Placement::new(device::open_cuda(0).unwrap(), dtype).unwrap()
}

/// The builtin models that have kernels on a GPU.
fn recurrent() -> impl Iterator<Item = &'static Builtin> {
    catalog::builtins().iter().filter(|builtin| !builtin.name.starts_with("neox"))
}

fn load(checkpoint: Checkpoint, placement: &Placement) -> LanguageModel {
    let mut weights = checkpoint.weights;
    let model = LanguageModel::load(&checkpoint.config, &mut weights, placement).unwrap();
    weights.finish().unwrap();
    model
}

/// Last hidden states and logits of every row, on the host.
fn run(model: &LanguageModel, tokens: &[u32], segments: &Segments) -> (Tensor, Tensor) {
    let (activations, _) = model.prefill(tokens, segments, None).unwrap();
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    let logits = model.head(&activations, &rows).unwrap();
    let sum = (host::copy(&activations.hidden).unwrap() + host::copy(activations.residual.as_ref().unwrap()).unwrap())
        .unwrap();
    (sum, host::copy(&logits).unwrap())
}

fn relative(want: &Tensor, got: &Tensor) -> f64 {
    let norm = |x: &Tensor| f64::from(x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt();
    norm(&(want - got).unwrap()) / norm(want)
}

#[test]
#[ignore = "needs a GPU"]
fn a_transformer_is_refused_with_a_hint() {
    let checkpoint = catalog::builtin("neox-world").unwrap().open().unwrap();
    let mut weights = checkpoint.weights;
    let error = LanguageModel::load(&checkpoint.config, &mut weights, &on_gpu(DType::F32)).unwrap_err();
    assert_eq!(error.to_string(), "GPT-NeoX is not available on CUDA yet: its operations have no kernels there");
    assert_eq!(error.hint().unwrap(), "run it with --device cpu");
}

#[test]
#[ignore = "needs a GPU"]
fn falcon_mamba_is_refused_with_a_hint() {
    let checkpoint = Checkpoint::open(&golden("falcon_mamba").dialects[0].1).unwrap();
    let mut weights = checkpoint.weights;
    let error = LanguageModel::load(&checkpoint.config, &mut weights, &on_gpu(DType::F32)).unwrap_err();
    assert_eq!(error.to_string(), "Falcon-Mamba is not available on CUDA yet: its operations have no kernels there");
    assert_eq!(error.hint().unwrap(), "run it with --device cpu");
}

#[test]
#[ignore = "needs a GPU"]
fn golden_logits_of_codestral_mamba_in_float32() {
    let Golden { dialects, reference } = golden("codestral_mamba");
    let model = load(Checkpoint::open(&dialects[0].1).unwrap(), &on_gpu(DType::F32));
    let rows: Vec<Vec<i64>> = reference["tokens"].to_vec2().unwrap();
    let tokens: Vec<u32> = rows.concat().into_iter().map(|token| token as u32).collect();
    let (_, got) = run(&model, &tokens, &Segments::independent(&[37, 37]));
    let difference = largest_difference(&reference["logits"].reshape(got.dims()).unwrap(), &got);
    assert!(difference < 1e-4, "{difference}");
}

#[test]
#[ignore = "needs a GPU"]
fn golden_logits_in_float32() {
    let placement = on_gpu(DType::F32);
    for name in GOLDEN {
        let Golden { dialects, reference } = golden(name);
        for (dialect, folder) in dialects {
            let model = load(Checkpoint::open(&folder).unwrap(), &placement);
            let rows: Vec<Vec<i64>> = reference["tokens.L37"].to_vec2().unwrap();
            let tokens: Vec<u32> = rows.concat().into_iter().map(|token| token as u32).collect();
            let (_, got) = run(&model, &tokens, &Segments::independent(&[37, 37]));
            let difference = largest_difference(&reference["logits.L37"].reshape((74, 256)).unwrap(), &got);
            assert!(difference < 1e-4, "{name} {dialect}: {difference}");
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn trained_models_in_both_dtypes() {
    for builtin in recurrent() {
        let open = || Checkpoint::from_bytes(builtin.config_json, builtin.safetensors).unwrap();
        let reference = load(open(), &Placement::cpu());
        let segments = Segments::independent(&[1, 63, 64, 65, 200]);
        let tokens: Vec<u32> = (0..segments.n_tokens() as u32).map(|index| index * 37 % 1000).collect();
        let targets: Vec<u32> = tokens.iter().map(|token| (token * 7 + 1) % 1000).collect();
        let (want, want_logits) = run(&reference, &tokens, &segments);
        let want_scores = ops::log_probs(&want_logits, &targets).unwrap();
        for (dtype, hidden_limit, score_limit) in [(DType::F32, 1e-4, 1e-3), (DType::BF16, 3e-2, 0.5)] {
            let model = load(open(), &on_gpu(dtype));
            let (got, logits) = run(&model, &tokens, &segments);
            let error = relative(&want, &got);
            assert!(error < hidden_limit, "{} {dtype:?}: hidden {error}", builtin.name);
            let scores = ops::log_probs(&logits, &targets).unwrap();
            let mean =
                want_scores.iter().zip(&scores).map(|(a, b)| f64::from((a.log_prob - b.log_prob).abs())).sum::<f64>()
                    / scores.len() as f64;
            eprintln!("{} {dtype:?}: hidden {error:.2e}, mean log-prob difference {mean:.4}", builtin.name);
            assert!(mean < score_limit, "{} {dtype:?}: log-probs {mean}", builtin.name);
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_sequence_has_the_same_bits_alone_and_packed() {
    for family in [Family::Mamba, Family::Mamba2] {
        let published = catalog::published().iter().find(|published| published.family == family).unwrap();
        let config = catalog::Published { d_model: 512, n_layer: 3, ..*published }.config().unwrap();
        for dtype in [DType::F32, DType::BF16] {
            let model = LanguageModel::load(&config, &mut RandomWeights { seed: 3 }, &on_gpu(dtype)).unwrap();
            let lengths = [5, 2500, 64, 1, 133];
            let segments = Segments::independent(&lengths);
            let tokens: Vec<u32> = (0..segments.n_tokens() as u32).map(|index| index * 977 % 50_000).collect();
            let (hidden, logits) = run(&model, &tokens, &segments);
            let (again, _) = run(&model, &tokens, &segments);
            assert_eq!(bits(&hidden), bits(&again), "{family:?} {dtype:?}: the same twice");
            for index in 0..lengths.len() {
                let rows = segments.rows(index);
                let (alone, alone_logits) = run(&model, &tokens[rows.clone()], &Segments::independent(&[rows.len()]));
                let packed = |x: &Tensor| bits(&x.narrow(0, rows.start, rows.len()).unwrap());
                assert!(bits(&alone) == packed(&hidden), "{family:?} {dtype:?}: segment {index}");
                assert!(bits(&alone_logits) == packed(&logits), "{family:?} {dtype:?}: logits of segment {index}");
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn steps_continue_a_prefill() {
    for builtin in recurrent() {
        let open = || Checkpoint::from_bytes(builtin.config_json, builtin.safetensors).unwrap();
        let model = load(open(), &on_gpu(DType::F32));
        let tokens: Vec<u32> = (0..90_u32).map(|index| index * 37 % 1000).collect();
        let (_, whole) = run(&model, &tokens, &Segments::independent(&[90]));
        let (_, mut state) = model.prefill(&tokens[..80], &Segments::independent(&[80]), None).unwrap();
        for (index, token) in tokens.iter().enumerate().skip(80) {
            let (logits, next) = model.step(&[*token], &state).unwrap();
            state = next;
            let want = whole.narrow(0, index, 1).unwrap();
            let difference = largest_difference(&want, &host::copy(&logits).unwrap());
            assert!(difference < 1e-3, "{} token {index}: {difference}", builtin.name);
        }
    }
}
