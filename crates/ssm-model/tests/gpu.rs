//! Whole models on a GPU against stored values and against the CPU. Needs a GPU: `just test-gpu`.
#![cfg(feature = "cuda")]
#![expect(clippy::print_stderr, reason = "shown with --nocapture: how far apart values are")]

mod common;

use candle_core::{DType, Tensor};
use common::{bits, every_golden, golden, largest_difference};
use ssm_kernels::ops::{MergeGroup, MergeRule, RowMerges, RowPlan};
use ssm_kernels::{Segments, device, host, ops};
use ssm_model::catalog::{Architecture, Published};
use ssm_model::checkpoint::Checkpoint;
use ssm_model::{
    LanguageModel, LayerRequest, LayerState, ModelConfig, ModelState, Placement, RandomWeights, RowTime, Times, catalog,
};

fn on_gpu(dtype: DType) -> Placement {
    Placement::new(device::open_cuda(0).unwrap(), dtype).unwrap()
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

/// Some token ids that the model knows.
fn some_tokens(model: &LanguageModel, length: usize) -> Vec<u32> {
    let limit = model.config().vocab_size.min(60) as u32;
    (0..length as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 7) % limit).collect()
}

fn relative(want: &Tensor, got: &Tensor) -> f64 {
    let norm = |x: &Tensor| f64::from(x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt();
    norm(&(want - got).unwrap()) / norm(want)
}

/// Every architecture, in every dialect that its fixture is stored in: the values of the reference in float32, and what bfloat16 makes of them,
/// which is printed. The weights of these checkpoints are wider than trained ones, and some multiply errors of rounding.
#[test]
#[ignore = "needs a GPU"]
fn every_golden_checkpoint_has_the_logits_of_its_reference() {
    for name in every_golden() {
        let golden = golden(&name);
        let (tokens, want) = golden.whole();
        let rows: Vec<Vec<i64>> = tokens.to_vec2().unwrap();
        let segments = Segments::independent(&rows.iter().map(Vec::len).collect::<Vec<_>>());
        let tokens: Vec<u32> = rows.concat().into_iter().map(|token| token as u32).collect();
        for (dialect, folder) in golden.dialects.iter().filter(|(_, folder)| folder.is_dir()) {
            let logits = |dtype| {
                let model = load(Checkpoint::open(folder).unwrap(), &on_gpu(dtype));
                run(&model, &tokens, &segments).1
            };
            let got = logits(DType::F32);
            let want = want.reshape(got.dims()).unwrap();
            let (difference, rounded) = (largest_difference(&want, &got), relative(&want, &logits(DType::BF16)));
            eprintln!("{name} {dialect}: float32 {difference:.1e}, bfloat16 {rounded:.1e} relative");
            assert!(difference < 1e-4, "{name} {dialect}: {difference}");
            assert!(rounded.is_finite(), "{name} {dialect}: bfloat16");
        }
    }
}

/// The tensors of a state of one segment, on the host.
fn parts(state: &LayerState) -> Vec<Tensor> {
    let (recurrent, cache) = (state.recurrent().ok(), state.cache().ok());
    let recurrent = recurrent.into_iter().flat_map(|state| [&state.conv, &state.ssm]);
    let cache = cache.into_iter().flat_map(|cache| {
        let keys = &cache.segments[0];
        [Some(&keys.keys), Some(&keys.values), cache.conv.as_ref()].into_iter().flatten()
    });
    recurrent.chain(cache).map(|tensor| host::copy(tensor).unwrap()).collect()
}

/// Every architecture: a sequence alone has the bits that it has packed, logits and states, in both dtypes.
#[test]
#[ignore = "needs a GPU"]
fn every_golden_checkpoint_has_the_same_bits_alone_and_packed() {
    for name in every_golden() {
        for dtype in [DType::F32, DType::BF16] {
            let model = load(Checkpoint::open(&golden(&name).dialects[0].1).unwrap(), &on_gpu(dtype));
            let segments = Segments::independent(&[5, 300, 64, 1, 133]);
            let tokens = some_tokens(&model, segments.n_tokens());
            let whole = |tokens: &[u32], segments: &Segments| {
                let (activations, state) = model.prefill(tokens, segments, None).unwrap();
                let rows: Vec<u32> = (0..tokens.len() as u32).collect();
                (host::copy(&model.head(&activations, &rows).unwrap()).unwrap(), state)
            };
            let (packed, packed_state) = whole(&tokens, &segments);
            let (again, _) = whole(&tokens, &segments);
            assert!(bits(&packed) == bits(&again), "{name} {dtype:?}: the same twice");
            for index in 0..segments.len() {
                let rows = segments.rows(index);
                let (alone, state) = whole(&tokens[rows.clone()], &Segments::independent(&[rows.len()]));
                let part = packed.narrow(0, rows.start, rows.len()).unwrap();
                assert!(bits(&part) == bits(&alone), "{name} {dtype:?}: logits of segment {index}");
                let selected = packed_state.select(&[index as u32]).unwrap();
                for (layer, (a, b)) in selected.0.iter().zip(&state.0).enumerate() {
                    let same = parts(a).iter().zip(parts(b)).all(|(a, b)| bits(a) == bits(&b));
                    assert!(same, "{name} {dtype:?}: layer {layer} of segment {index}: its state");
                }
            }
        }
    }
}

/// Every architecture: states are values. A child that continues its parent in the same call, one that continues from the stored state, and
/// one that takes a token at a time compute what the whole sequence does.
#[test]
#[ignore = "needs a GPU"]
fn every_golden_checkpoint_continues_from_its_states() {
    for name in every_golden() {
        let model = load(Checkpoint::open(&golden(&name).dialects[0].1).unwrap(), &on_gpu(DType::F32));
        let tokens = some_tokens(&model, 90);
        let (parent, child) = tokens.split_at(70);
        let logits = |tokens: &[u32], segments: &Segments, initial: Option<&ModelState>| {
            let (activations, state) = model.prefill(tokens, segments, initial).unwrap();
            let rows: Vec<u32> = (0..tokens.len() as u32).collect();
            (host::copy(&model.head(&activations, &rows).unwrap()).unwrap(), state)
        };
        let (want, _) = logits(&tokens, &Segments::independent(&[90]), None);
        let want = want.narrow(0, 70, 20).unwrap();
        let forked = Segments::new(&[70, 20], &[None, Some(0)]).unwrap();
        let forked = logits(&tokens, &forked, None).0.narrow(0, 70, 20).unwrap();
        let (_, state) = logits(parent, &Segments::independent(&[70]), None);
        let (stored, _) = logits(child, &Segments::independent(&[20]), Some(&state));
        let mut steps = Vec::new();
        let mut state = state;
        for token in child {
            let (row, after) = model.step(&[*token], &state).unwrap();
            steps.push(host::copy(&row).unwrap());
            state = after;
        }
        let steps = Tensor::cat(&steps, 0).unwrap();
        for (how, got) in [("in one call", forked), ("from a stored state", stored), ("step by step", steps)] {
            let difference = largest_difference(&want, &got.contiguous().unwrap());
            assert!(difference < 1e-3, "{name} {how}: {difference}");
        }
    }
}

/// Rows are removed and merged as a layer reads them: what the GPU gathers is what the host would have, embeddings included.
#[test]
#[ignore = "needs a GPU"]
fn every_golden_checkpoint_gathers_rows_as_the_host_does() {
    let groups = [MergeGroup { into: 3, own_weight: 1.0, sources: vec![(2, 1.0)] }];
    let keep: Vec<u32> = [0, 3].into_iter().chain(5..20).collect();
    let merges = [RowMerges { first_row: 0, keep: &keep, groups: &groups, rule: MergeRule::WeightedMean }];
    for name in every_golden() {
        let outcome = |placement: &Placement| {
            let model = load(Checkpoint::open(&golden(&name).dialects[0].1).unwrap(), placement);
            let whole = Segments::independent(&[20]);
            let activations = model.embed(&some_tokens(&model, 20)).unwrap();
            let mut activations = model.layer(0, &activations, &whole, LayerRequest::default()).unwrap().activations;
            let rows = RowPlan::from_merges(20, &merges, &merges, &placement.device).unwrap();
            let kept = Segments::independent(&[keep.len()]);
            for layer in 1..model.config().n_layer() {
                let rows = (layer == 1).then_some(&rows);
                let request = LayerRequest { rows, ..LayerRequest::default() };
                activations = model.layer(layer, &activations, &kept, request).unwrap().activations;
            }
            let rows: Vec<u32> = (0..keep.len() as u32).collect();
            host::copy(&model.head(&activations, &rows).unwrap()).unwrap()
        };
        let difference = largest_difference(&outcome(&Placement::cpu()), &outcome(&on_gpu(DType::F32)));
        assert!(difference < 2e-4, "{name}: {difference}");
    }
}

#[test]
#[ignore = "needs a GPU"]
fn trained_models_in_both_dtypes() {
    for builtin in catalog::builtins() {
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
    for architecture in [
        Architecture::Mamba,
        Architecture::Mamba2,
        Architecture::Mamba2Attention { heads: 6, layers: &[1] },
        Architecture::TransformerPlusPlus { heads: 4 },
        Architecture::Pythia { heads: 8 },
    ] {
        let config = Published { name: "small", architecture, d_model: 512, n_layer: 3 }.config().unwrap();
        for dtype in [DType::F32, DType::BF16] {
            let model = LanguageModel::load(&config, &mut RandomWeights { seed: 3 }, &on_gpu(dtype)).unwrap();
            let lengths = [5, 2500, 64, 1, 133];
            let segments = Segments::independent(&lengths);
            let tokens: Vec<u32> = (0..segments.n_tokens() as u32).map(|index| index * 977 % 50_000).collect();
            let (hidden, logits) = run(&model, &tokens, &segments);
            let (again, _) = run(&model, &tokens, &segments);
            assert_eq!(bits(&hidden), bits(&again), "{architecture:?} {dtype:?}: the same twice");
            for index in 0..lengths.len() {
                let rows = segments.rows(index);
                let (alone, alone_logits) = run(&model, &tokens[rows.clone()], &Segments::independent(&[rows.len()]));
                let packed = |x: &Tensor| bits(&x.narrow(0, rows.start, rows.len()).unwrap());
                assert!(bits(&alone) == packed(&hidden), "{architecture:?} {dtype:?}: segment {index}");
                assert!(
                    bits(&alone_logits) == packed(&logits),
                    "{architecture:?} {dtype:?}: logits of segment {index}"
                );
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn steps_of_several_sequences_continue_a_prefill() {
    const STEPS: usize = 10;
    for builtin in catalog::builtins() {
        let open = || Checkpoint::from_bytes(builtin.config_json, builtin.safetensors).unwrap();
        for (dtype, limit) in [(DType::F32, 1e-3), (DType::BF16, 0.5)] {
            let model = load(open(), &on_gpu(dtype));
            let whole = Segments::independent(&[90, 1 + STEPS, 65 + STEPS]);
            let tokens: Vec<u32> = (0..whole.n_tokens() as u32).map(|index| index * 37 % 1000).collect();
            let (_, want) = run(&model, &tokens, &whole);
            let prompts: Vec<_> =
                (0..whole.len()).map(|index| whole.rows(index).start..whole.rows(index).end - STEPS).collect();
            let prompt: Vec<u32> = prompts.iter().flat_map(|rows| tokens[rows.clone()].to_vec()).collect();
            let lengths: Vec<usize> = prompts.iter().map(ExactSizeIterator::len).collect();
            let (_, mut state) = model.prefill(&prompt, &Segments::independent(&lengths), None).unwrap();
            for step in 0..STEPS {
                let rows: Vec<usize> = prompts.iter().map(|rows| rows.end + step).collect();
                let next: Vec<u32> = rows.iter().map(|row| tokens[*row]).collect();
                let (logits, after) = model.step(&next, &state).unwrap();
                state = after;
                let logits = host::copy(&logits).unwrap();
                for (index, row) in rows.iter().enumerate() {
                    let (want, got) = (want.narrow(0, *row, 1).unwrap(), logits.narrow(0, index, 1).unwrap());
                    let error = if dtype == DType::F32 {
                        f64::from(largest_difference(&want, &got))
                    } else {
                        relative(&want, &got)
                    };
                    assert!(error < limit, "{} {dtype:?} sequence {index} step {step}: {error}", builtin.name);
                }
            }
        }
    }
}

/// Both layers of a hybrid with everything that its attention may have: the values of the CPU after a prefill, and after steps from
/// its states.
#[test]
#[ignore = "needs a GPU"]
fn a_hybrid_computes_the_same_as_on_the_cpu() {
    let config = ModelConfig::from_json(
        r#"{"d_model": 128, "n_layer": 2, "vocab_size": 512, "d_intermediate": 200,
            "ssm_cfg": {"layer": "Mamba2", "d_state": 64}, "attn_layer_idx": [1],
            "attn_cfg": {"causal": true, "d_conv": 4, "head_dim": 48, "num_heads": 6, "num_heads_kv": 2, "rotary_emb_dim": 16,
                         "mlp_dim": 300}}"#,
    )
    .unwrap();
    let model =
        |placement: &Placement| LanguageModel::load(&config, &mut RandomWeights { seed: 5 }, placement).unwrap();
    let segments = Segments::new(&[70, 5, 130, 1], &[None, Some(0), None, None]).unwrap();
    let tokens: Vec<u32> = (0..segments.n_tokens() as u32).map(|index| index * 37 % 512).collect();
    let outcome = |placement: &Placement| {
        let model = model(placement);
        let (activations, state) = model.prefill(&tokens, &segments, None).unwrap();
        let (logits, _) = model.step(&[1, 2], &state.select(&[1, 2]).unwrap()).unwrap();
        (host::copy(&activations.hidden).unwrap(), host::copy(&logits).unwrap())
    };
    let want = outcome(&Placement::cpu());
    for (dtype, limit) in [(DType::F32, 1e-4), (DType::BF16, 3e-2)] {
        let got = outcome(&on_gpu(dtype));
        let errors = [relative(&want.0, &got.0), relative(&want.1, &got.1)];
        assert!(errors.iter().all(|error| *error < limit), "{dtype:?}: {errors:?}");
    }
}

/// Rows that last longer, and rows that are removed: the scan of either Mamba takes the factors of the CPU.
#[test]
#[ignore = "needs a GPU"]
fn rows_may_last_longer() {
    for name in ["mamba-world", "mamba2-world"] {
        let builtin = catalog::builtin(name).unwrap();
        let open = || Checkpoint::from_bytes(builtin.config_json, builtin.safetensors).unwrap();
        let segments = Segments::independent(&[70, 1, 33]);
        let tokens: Vec<u32> = (0..segments.n_tokens() as u32).map(|index| index * 37 % 1000).collect();
        let times: Vec<RowTime> = (0..segments.n_tokens())
            .map(|row| RowTime { decay: 1.0 + (row % 3) as f32, write: 0.5 + (row % 4) as f32 })
            .collect();
        let layer = |placement: &Placement, time: Option<Times<'_>>| {
            let model = load(open(), placement);
            let activations = model.embed(&tokens).unwrap();
            let request = LayerRequest { time, states: true, ..LayerRequest::default() };
            let output = model.layer(5, &activations, &segments, request).unwrap();
            let state = output.state.unwrap().recurrent().unwrap().ssm.clone();
            (host::copy(&output.activations.hidden).unwrap(), host::copy(&state).unwrap())
        };
        let gpu = on_gpu(DType::F32);
        let (want, got) = (layer(&Placement::cpu(), Some(Times::Host(&times))), layer(&gpu, Some(Times::Host(&times))));
        assert!(relative(&want.0, &got.0) < 1e-4 && relative(&want.1, &got.1) < 1e-4, "{name}");
        let values: Vec<f32> = times.iter().flat_map(|time| [time.decay, time.write]).collect();
        let there = Tensor::from_vec(values, (times.len(), 2), &gpu.device).unwrap();
        let same = layer(&gpu, Some(Times::Device(&there)));
        assert_eq!(bits(&got.0), bits(&same.0), "{name}: factors that lie there");
        assert_eq!(bits(&got.1), bits(&same.1), "{name}: states after factors that lie there");
        let (plain, ones) = (layer(&gpu, None), layer(&gpu, Some(Times::Host(&vec![RowTime::ONE; tokens.len()]))));
        assert_eq!(bits(&plain.0), bits(&ones.0), "{name}: factors of one");
        assert!(relative(&plain.0, &got.0) > 1e-3, "{name}: factors that change nothing");
    }
}

/// What prompts of these lengths continue with: by graph where `graph`, else by steps. The first token comes with the prompt.
fn continued(model: &LanguageModel, lengths: &[usize], count: usize, graph: bool) -> Vec<Vec<u32>> {
    let tokens: Vec<u32> = (0..lengths.iter().sum::<usize>() as u32).map(|index| 5 + index * 37 % 400).collect();
    let segments = Segments::independent(lengths);
    let (activations, state) = model.prefill(&tokens, &segments, None).unwrap();
    let last: Vec<u32> = (0..lengths.len()).map(|segment| segments.rows(segment).end as u32 - 1).collect();
    let mut all = vec![ssm_model::most_likely(&model.head(&activations, &last).unwrap()).unwrap()];
    let mut decoder = if graph { model.decoder(state).unwrap() } else { model.decoder_by_steps(state) };
    assert_eq!(decoder.steps_because().is_none(), graph);
    // In two calls, which go on from each other.
    for count in [count / 2, count - count / 2] {
        let more = decoder.generate(&all.last().unwrap().clone(), count).unwrap();
        all.extend(more);
    }
    all
}

/// Tokens before the first difference, over all sequences.
fn agreeing(left: &[Vec<u32>], right: &[Vec<u32>]) -> usize {
    let of = |sequence: usize| left.iter().zip(right).take_while(|(a, b)| a[sequence] == b[sequence]).count();
    (0..left[0].len()).map(of).sum()
}

/// Trained models generate by graph what float32 generates at least as long as they do step by step: bfloat16 decides otherwise between
/// near equals now and then, and what follows is another text.
#[test]
#[ignore = "needs a GPU"]
fn a_graph_generates_what_steps_generate() {
    let (narrow, wide) = (on_gpu(DType::BF16), on_gpu(DType::F32));
    for name in ["mamba2-world", "mamba-world"] {
        let open = |placement| load(catalog::builtin(name).unwrap().open().unwrap(), placement);
        let (model, exact) = (open(&narrow), open(&wide));
        let (mut by_graph, mut by_steps, mut all) = (0, 0, 0);
        for lengths in [vec![40], vec![9, 33, 1, 64, 2], (1..=20).collect(), (30..62).collect()] {
            let want = continued(&exact, &lengths, 70, false);
            by_graph += agreeing(&want, &continued(&model, &lengths, 70, true));
            by_steps += agreeing(&want, &continued(&model, &lengths, 70, false));
            all += 71 * lengths.len();
        }
        eprintln!("{name}: of {all} tokens {by_graph} as in float32 by graph, {by_steps} by steps");
        assert!(by_graph * 10 >= by_steps * 9 && by_graph * 3 > all, "{name}");
    }
}

/// A sequence continues with the same tokens alone and beside others.
#[test]
#[ignore = "needs a GPU"]
fn a_sequence_of_a_graph_is_the_same_in_every_batch() {
    for name in ["mamba2-world", "mamba-world"] {
        same_in_every_batch(&load(catalog::builtin(name).unwrap().open().unwrap(), &on_gpu(DType::BF16)));
    }
}

fn same_in_every_batch(model: &LanguageModel) {
    let tokens: Vec<u32> = (0..400).map(|index| 5 + index * 37 % 400).collect();
    let generate = |segments: &[usize]| {
        let rows: Vec<u32> = segments.iter().flat_map(|segment| &tokens[segment * 20..][..20]).copied().collect();
        let (_, state) = model.prefill(&rows, &Segments::independent(&vec![20; segments.len()]), None).unwrap();
        model.decoder(state).unwrap().generate(&vec![7; segments.len()], 100).unwrap()
    };
    let all = generate(&(0..20).collect::<Vec<_>>());
    for segment in [0, 7, 19] {
        let alone = generate(&[segment]);
        assert!(alone.iter().zip(&all).all(|(alone, all)| alone[0] == all[segment]), "{segment}");
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_model_without_kernels_for_a_graph_says_why_it_steps() {
    let placement = on_gpu(DType::BF16);
    let state = |model: &LanguageModel| model.prefill(&[5, 6], &Segments::independent(&[2]), None).unwrap().1;
    let model = load(catalog::builtin("neox-world").unwrap().open().unwrap(), &placement);
    let reason = "layer 0 (attention): only layers of a mixer alone have kernels for it";
    assert_eq!(model.decoder(state(&model)).unwrap().steps_because(), Some(reason));
    let model = load(catalog::builtin("mamba2-world").unwrap().open().unwrap(), &on_gpu(DType::F32));
    assert_eq!(model.decoder(state(&model)).unwrap().steps_because(), Some("a graph needs bfloat16 on a GPU"));
}
