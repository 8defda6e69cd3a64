//! The models against values that others computed: small random checkpoints against a float64 recurrence
//! (`golden/README.md`), trained ones against transformers in float32 (`trained/README.md`).

mod common;

use candle_core::Tensor;
use common::{GOLDEN, Golden, HYBRIDS, NEOX, TRANSFORMERS, golden, largest_difference, logits, open, trained};
use ssm_kernels::Segments;
use ssm_model::{Checkpoint, LanguageModel, LayerRequest, MixerConfig, Placement, Signal, SignalSet};

/// Both rows of a fixture as one packed stream.
fn packed(tokens: &Tensor) -> (Vec<u32>, Segments) {
    let rows: Vec<Vec<i64>> = tokens.to_vec2().unwrap();
    let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
    (rows.concat().into_iter().map(|token| token as u32).collect(), Segments::independent(&lengths))
}

#[test]
fn golden_logits_in_every_dialect() {
    for name in GOLDEN {
        let Golden { dialects, reference } = golden(name);
        for (dialect, folder) in dialects {
            let model = open(&folder);
            let (tokens, segments) = packed(&reference["tokens.L37"]);
            let (got, _) = logits(&model, &tokens, &segments, None);
            let want = reference["logits.L37"].reshape((74, 256)).unwrap();
            let difference = largest_difference(&want, &got);
            assert!(difference < 1e-4, "{name} {dialect}: {difference}");
        }
    }
}

/// What transformers computed before it normalised the groups of a Mamba-2 separately.
#[test]
fn golden_logits_with_one_norm_for_all_groups() {
    let Golden { dialects, reference } = golden("mamba2_g2");
    let checkpoint = Checkpoint::open(&dialects[1].1).unwrap();
    let (mut config, mut weights) = (checkpoint.config, checkpoint.weights);
    for layer in &mut config.layers {
        let MixerConfig::Mamba2(mixer) = &mut layer.mixer else { unreachable!("a Mamba-2") };
        mixer.norm_groups = 1;
    }
    let model = LanguageModel::load(&config, &mut weights, &Placement::cpu()).unwrap();
    let (tokens, segments) = packed(&reference["tokens.L37"]);
    let (got, _) = logits(&model, &tokens, &segments, None);
    let difference = largest_difference(&reference["logits_hf.L37"].reshape((74, 256)).unwrap(), &got);
    assert!(difference < 1e-4, "{difference}");
}

#[test]
fn golden_logits_over_several_chunks() {
    for name in GOLDEN {
        let Golden { dialects, reference } = golden(name);
        let model = open(&dialects[0].1);
        let (tokens, segments) = packed(&reference["tokens.L128"]);
        let (got, _) = logits(&model, &tokens, &segments, None);
        let (key, tail) = if name == "mamba2_g2" { ("logits_tail32.L128", 32) } else { ("logits_tail64.L128", 64) };
        let got = got.reshape((2, 128, 256)).unwrap().narrow(1, 128 - tail, tail).unwrap();
        let difference = largest_difference(&reference[key], &got.contiguous().unwrap());
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

#[test]
fn golden_layers_and_states() {
    for name in GOLDEN {
        let Golden { dialects, reference } = golden(name);
        let model = open(&dialects[0].1);
        let (tokens, segments) = packed(&reference["tokens.L37"]);
        let mut activations = model.embed(&tokens).unwrap();
        for layer in 0..model.config().n_layer() {
            let request = LayerRequest { states: true, ..LayerRequest::default() };
            let output = model.layer(layer, &activations, &segments, request).unwrap();
            activations = output.activations;
            let state = output.state.unwrap();
            let residual = activations.residual.clone().unwrap();
            let got = [
                ("mixer_out", activations.hidden.clone()),
                ("residual", residual),
                ("conv_state", state.recurrent().unwrap().conv.clone()),
                ("ssm_state", state.recurrent().unwrap().ssm.clone()),
            ];
            for (what, got) in got {
                let want = &reference[&format!("layer{layer}.{what}.L37")];
                let difference = largest_difference(want, &got.reshape(want.dims()).unwrap());
                assert!(difference < 1e-4, "{name} layer {layer} {what}: {difference}");
            }
        }
    }
}

#[test]
fn steps_from_a_prefilled_state_equal_the_reference() {
    for name in GOLDEN {
        let Golden { dialects, reference } = golden(name);
        let model = open(&dialects[0].1);
        let (tokens, segments) = packed(&reference["tokens.L37"]);
        let (_, mut state) = model.prefill(&tokens, &segments, None).unwrap();
        let next: Vec<Vec<i64>> = reference["decode.tokens"].to_vec2().unwrap();
        for (step, (first, second)) in next[0].iter().zip(&next[1]).enumerate() {
            let tokens = [*first as u32, *second as u32];
            let (got, new_state) = model.step(&tokens, &state).unwrap();
            state = new_state;
            let want = reference["decode.logits"].narrow(1, step, 1).unwrap().squeeze(1).unwrap();
            let difference = largest_difference(&want.contiguous().unwrap(), &got);
            assert!(difference < 1e-4, "{name} step {step}: {difference}");
        }
    }
}

/// Falcon-Mamba and Codestral-Mamba: the input of every layer, and the logits.
#[test]
fn golden_models_of_transformers_layer_by_layer_and_in_their_logits() {
    for name in TRANSFORMERS {
        let Golden { dialects, reference } = golden(name);
        let model = open(&dialects[0].1);
        let (tokens, segments) = packed(&reference["tokens"]);
        let mut activations = model.embed(&tokens).unwrap();
        for layer in 0..model.config().n_layer() {
            activations = model.layer(layer, &activations, &segments, LayerRequest::default()).unwrap().activations;
            let (want, got) = (&reference[&format!("layer{layer}.residual")], activations.residual.clone().unwrap());
            let difference = largest_difference(want, &got.reshape(want.dims()).unwrap());
            assert!(difference < 1e-4, "{name} layer {layer}: {difference}");
        }
        let rows: Vec<u32> = (0..tokens.len() as u32).collect();
        let got = model.head(&activations, &rows).unwrap();
        let difference = largest_difference(&reference["logits"].reshape(got.dims()).unwrap(), &got);
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

#[test]
fn golden_transformers_layer_by_layer_and_in_their_logits() {
    for name in NEOX.into_iter().chain(HYBRIDS) {
        let Golden { dialects, reference } = golden(name);
        let model = open(&dialects[0].1);
        let (tokens, segments) = packed(&reference["tokens"]);
        let mut activations = model.embed(&tokens).unwrap();
        for layer in 0..model.config().n_layer() {
            let signals = SignalSet::of(&[Signal::SsmOutput]);
            let output = model
                .layer(layer, &activations, &segments, LayerRequest { signals, ..LayerRequest::default() })
                .unwrap();
            activations = output.activations;
            let got = [
                ("block_out", activations.hidden.clone()),
                ("residual", activations.residual.clone().unwrap()),
                ("ssm_output", output.signals.get(Signal::SsmOutput).unwrap().clone()),
            ];
            for (what, got) in got {
                let want = &reference[&format!("layer{layer}.{what}")];
                let difference = largest_difference(want, &got.reshape(want.dims()).unwrap());
                assert!(difference < 1e-4, "{name} layer {layer} {what}: {difference}");
            }
        }
        let rows: Vec<u32> = (0..tokens.len() as u32).collect();
        let got = model.head(&activations, &rows).unwrap();
        let difference = largest_difference(&reference["logits"].reshape(got.dims()).unwrap(), &got);
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

#[test]
fn golden_models_step_from_their_states_and_caches() {
    for name in NEOX.into_iter().chain(HYBRIDS).chain(TRANSFORMERS) {
        let Golden { dialects, reference } = golden(name);
        let model = open(&dialects[0].1);
        let (tokens, segments) = packed(&reference["tokens"]);
        let (_, mut state) = model.prefill(&tokens, &segments, None).unwrap();
        let next: Vec<Vec<i64>> = reference["decode.tokens"].to_vec2().unwrap();
        for (step, (first, second)) in next[0].iter().zip(&next[1]).enumerate() {
            let (got, new_state) = model.step(&[*first as u32, *second as u32], &state).unwrap();
            state = new_state;
            let want = reference["decode.logits"].narrow(1, step, 1).unwrap().squeeze(1).unwrap();
            let difference = largest_difference(&want.contiguous().unwrap(), &got);
            assert!(difference < 1e-4, "{name} step {step}: {difference}");
        }
    }
}

/// Rows are removed after the first layer; the kept ones keep their positions, or are numbered anew.
#[test]
fn golden_transformers_go_on_with_fewer_rows() {
    for name in NEOX.into_iter().chain(HYBRIDS) {
        let Golden { dialects, reference } = golden(name);
        let model = open(&dialects[0].1);
        let tokens: Vec<u32> =
            reference["tokens"].to_vec2::<i64>().unwrap()[0].iter().map(|token| *token as u32).collect();
        let kept: Vec<u32> = reference["kept"].to_vec1::<i64>().unwrap().iter().map(|row| *row as u32).collect();
        for (positions, key) in [(Some(kept.as_slice()), "original"), (None, "compacted")] {
            let activations = model.embed(&tokens).unwrap();
            let segments = Segments::independent(&[tokens.len()]);
            let whole = model.layer(0, &activations, &segments, LayerRequest::default()).unwrap().activations;
            let index = Tensor::new(kept.as_slice(), whole.hidden.device()).unwrap();
            let mut activations = whole.map(|tensor| tensor.index_select(&index, 0)).unwrap();
            let segments = Segments::independent(&[kept.len()]);
            for layer in 1..model.config().n_layer() {
                let request = LayerRequest { positions, ..LayerRequest::default() };
                activations = model.layer(layer, &activations, &segments, request).unwrap().activations;
            }
            let rows: Vec<u32> = (0..kept.len() as u32).collect();
            let got = model.head(&activations, &rows).unwrap();
            let difference = largest_difference(&reference[&format!("logits.kept.{key}")], &got);
            assert!(difference < 1e-4, "{name} {key}: {difference}");
        }
    }
}

#[test]
fn trained_models_reproduce_their_stored_logits() {
    for name in
        ["mamba-world", "mamba2-world", "neox-world", "mamba-books", "mamba2-books", "hybrid-books", "neox-books"]
    {
        let (model, reference) = trained(name);
        let (tokens, segments) = packed(&reference["tokens"]);
        let (all, _) = logits(&model, &tokens, &segments, None);
        let vocab_size = model.config().vocab_size;
        let all = all.reshape((segments.len(), 200, vocab_size)).unwrap();
        let got = all.index_select(&reference["positions"], 1).unwrap();
        let difference = largest_difference(&reference["logits"], &got);
        assert!(difference < 1e-3, "{name}: {difference}");
        let greedy = all.argmax(2).unwrap().to_dtype(candle_core::DType::I64).unwrap();
        assert_eq!(greedy.to_vec2::<i64>().unwrap(), reference["greedy"].to_vec2::<i64>().unwrap(), "{name}: greedy");
    }
}
