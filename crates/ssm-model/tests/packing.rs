//! Packed equals alone, prefill equals steps, children equal whole sequences: on trained models, bit for bit where the
//! seams promise it.

mod common;

use candle_core::{Device, Tensor};
use common::{HYBRIDS, TRANSFORMERS, bits, golden, hybrid, largest_difference, logits, open, trained};
use hint::Hint;
use ssm_kernels::Segments;
use ssm_kernels::ops::{MergeGroup, MergeRule, RowMerges, RowPlan};
use ssm_model::catalog::{Published, published};
use ssm_model::{
    Activations, KeyValueCache, LanguageModel, LayerRequest, LayerState, ModelError, Placement, RandomWeights, RowTime,
    Times,
};

const MODELS: [&str; 3] = ["mamba-world", "mamba2-world", "neox-world"];

/// The trained models, small random ones of the other published architectures, and one whose layers are of two kinds.
fn models() -> impl Iterator<Item = (&'static str, LanguageModel)> {
    let others = TRANSFORMERS.into_iter().chain(HYBRIDS).map(|name| (name, open(&golden(name).dialects[0].1)));
    MODELS.into_iter().map(|name| (name, trained(name).0)).chain(others).chain([("hybrid", hybrid())])
}

/// Some token ids that the model knows, different for every seed.
fn tokens(model: &LanguageModel, seed: u32, length: usize) -> Vec<u32> {
    let limit = model.config().vocab_size.min(1100) as u32;
    let token = |index: u32| (index.wrapping_mul(2_654_435_761).wrapping_add(seed * 977) >> 7) % limit;
    (0..length as u32).map(token).collect()
}

/// The tensors of a cache of one segment.
fn cached(cache: &KeyValueCache) -> Vec<Tensor> {
    let of = &cache.segments[0];
    [Some(of.keys.clone()), Some(of.values.clone()), cache.conv.clone()].into_iter().flatten().collect()
}

/// The tensors of a state of one segment.
fn parts(state: &LayerState) -> Vec<Tensor> {
    match state {
        LayerState::Recurrent(state) => vec![state.conv.clone(), state.ssm.clone()],
        LayerState::Attention(cache) => cached(cache),
        LayerState::Both(state, cache) => [vec![state.conv.clone(), state.ssm.clone()], cached(cache)].concat(),
        LayerState::Stateless => Vec::new(),
    }
}

#[test]
fn a_sequence_alone_equals_the_same_sequence_packed_bit_for_bit() {
    for (name, model) in models() {
        let lengths = [1, 2, 63, 64, 65, 3, 200];
        let rows: Vec<Vec<u32>> = lengths.iter().zip(0..).map(|(length, seed)| tokens(&model, seed, *length)).collect();
        let (packed, packed_state) = logits(&model, &rows.concat(), &Segments::independent(&lengths), None);
        let mut start = 0;
        for (index, row) in rows.iter().enumerate() {
            let (alone, state) = logits(&model, row, &Segments::independent(&[row.len()]), None);
            let part = packed.narrow(0, start, row.len()).unwrap();
            assert!(bits(&part) == bits(&alone), "{name}: logits of length {}", row.len());
            let selected = packed_state.select(&[index as u32]).unwrap();
            for (layer, (a, b)) in selected.0.iter().zip(&state.0).enumerate() {
                for (part, (a, b)) in parts(a).iter().zip(parts(b)).enumerate() {
                    assert!(bits(a) == bits(&b), "{name}: layer {layer}, part {part} of the state");
                }
            }
            start += row.len();
        }
    }
}

#[test]
fn prefill_equals_stepping() {
    for (name, model) in models() {
        let row = tokens(&model, 3, 130);
        let (whole, _) = logits(&model, &row, &Segments::independent(&[130]), None);
        let (_, mut state) = model.prefill(&row[..1], &Segments::independent(&[1]), None).unwrap();
        for (index, token) in row.iter().enumerate().skip(1) {
            let (step, next) = model.step(&[*token], &state).unwrap();
            state = next;
            let difference = largest_difference(&whole.narrow(0, index, 1).unwrap(), &step);
            assert!(difference < 2e-4, "{name} token {index}: {difference}");
        }
    }
}

#[test]
fn a_child_continues_its_parent() {
    for (name, model) in models() {
        let (parent, child) = (tokens(&model, 5, 70), tokens(&model, 6, 20));
        let whole = [parent.as_slice(), &child].concat();
        let (want, _) = logits(&model, &whole, &Segments::independent(&[90]), None);
        // Two children of one parent in one call, and the same child from a stored state.
        let stream = [parent.as_slice(), &child, &child].concat();
        let forked = Segments::new(&[70, 20, 20], &[None, Some(0), Some(0)]).unwrap();
        let (forked, _) = logits(&model, &stream, &forked, None);
        let (_, state) = model.prefill(&parent, &Segments::independent(&[70]), None).unwrap();
        let (stored, _) = logits(&model, &child, &Segments::independent(&[20]), Some(&state));
        let first = forked.narrow(0, 70, 20).unwrap();
        assert!(bits(&first) == bits(&forked.narrow(0, 90, 20).unwrap()), "{name}: siblings");
        assert!(bits(&first) == bits(&stored), "{name}: stored state");
        let difference = largest_difference(&want.narrow(0, 70, 20).unwrap(), &first);
        assert!(difference < 2e-4, "{name}: {difference}");
    }
}

/// Rows are removed after a layer: whatever a later layer reads of a row besides the stream is removed with it.
#[test]
fn the_rows_of_one_sequence_go_on_as_that_sequence_alone() {
    for (name, model) in models() {
        let (first, second) = (tokens(&model, 5, 9), tokens(&model, 6, 20));
        let (alone, _) = logits(&model, &second, &Segments::independent(&[20]), None);
        let both = Segments::independent(&[9, 20]);
        let layer = |layer, activations: &Activations, segments: &Segments| {
            model.layer(layer, activations, segments, LayerRequest::default()).unwrap().activations
        };
        let activations = layer(0, &model.embed(&[first, second].concat()).unwrap(), &both);
        let mut activations = activations.map(|tensor| tensor.narrow(0, 9, 20)?.contiguous()).unwrap();
        for index in 1..model.config().n_layer() {
            activations = layer(index, &activations, &Segments::independent(&[20]));
        }
        let rows: Vec<u32> = (0..20).collect();
        assert!(bits(&model.head(&activations, &rows).unwrap()) == bits(&alone), "{name}");
        assert_eq!(activations.embeddings.is_some(), name.starts_with("zamba2"), "{name}");
    }
}

/// Rows that a layer gathers and merges as it reads them, and the same rows before it: the same bits. What a GPU does after a plan.
#[test]
fn a_layer_gathers_rows_as_they_are_gathered_before_it() {
    let groups = [MergeGroup { into: 3, own_weight: 1.0, sources: vec![(2, 2.0)] }];
    let keep: Vec<u32> = [0, 3].into_iter().chain(5..20).collect();
    let plain = RowMerges { first_row: 0, keep: &keep, groups: &[], rule: MergeRule::WeightedMean };
    let merged = RowMerges { groups: &groups, ..plain };
    let rows = RowPlan::from_merges(20, &[plain], &[merged], &Device::Cpu).unwrap();
    let kept = Segments::independent(&[keep.len()]);
    for (name, model) in models() {
        let whole = Segments::independent(&[20]);
        let layer = |index, activations: &Activations, segments: &Segments, rows: Option<&RowPlan>| {
            let request = LayerRequest { rows, ..LayerRequest::default() };
            model.layer(index, activations, segments, request).unwrap().activations
        };
        let arriving = layer(0, &model.embed(&tokens(&model, 9, 20)).unwrap(), &whole, None);
        let as_residual = |tensor: &Option<Tensor>| tensor.as_ref().map(|x| rows.apply(x, &rows.residual).unwrap());
        let mut before = Activations {
            hidden: rows.apply(&arriving.hidden, &rows.hidden).unwrap(),
            residual: as_residual(&arriving.residual),
            embeddings: as_residual(&arriving.embeddings),
        };
        let mut within = arriving;
        for index in 1..model.config().n_layer() {
            within = layer(index, &within, &kept, (index == 1).then_some(&rows));
            before = layer(index, &before, &kept, None);
        }
        assert!(bits(&within.hidden) == bits(&before.hidden), "{name}");
    }
}

#[test]
fn a_layer_that_reads_embeddings_says_so_where_there_are_none() {
    let model = open(&golden("zamba2_rope").dialects[0].1);
    let activations = Activations { embeddings: None, ..model.embed(&[3, 4]).unwrap() };
    let error = model.layer(1, &activations, &Segments::independent(&[2]), LayerRequest::default()).err().unwrap();
    assert_eq!(
        format!("{error}: {}", error.hint().unwrap()),
        "the layer reads the embeddings of the tokens, and the activations hold none: begin with `LanguageModel::embed`, and treat all tensors of \
         `Activations` alike"
    );
}

/// Where a layer has a scan and attention, factors of step sizes concern the scan.
#[test]
fn rows_last_longer_in_layers_of_two_kinds() {
    for (name, index) in [("falcon_h1", 0), ("zamba2_adapters", 1)] {
        let model = open(&golden(name).dialects[0].1);
        let (activations, segments) = (model.embed(&tokens(&model, 4, 12)).unwrap(), Segments::independent(&[12]));
        let hidden = |time: Option<&[RowTime]>| {
            let request = LayerRequest { time: time.map(Times::Host), ..LayerRequest::default() };
            model.layer(index, &activations, &segments, request).unwrap().activations.hidden
        };
        let (plain, ones) = (hidden(None), hidden(Some(&[RowTime::ONE; 12])));
        assert!(bits(&plain) == bits(&ones), "{name}");
        assert!(largest_difference(&plain, &hidden(Some(&[RowTime { decay: 3.0, write: 2.0 }; 12]))) > 1e-3, "{name}");
    }
}

/// The shapes of a Pythia, with weights made up: it loads, runs, and its logits are spread as an untrained model's are.
#[test]
fn a_pythia_of_random_weights_runs() {
    let published = published().iter().find(|published| published.short_name() == "pythia-70m").unwrap();
    let config = Published { d_model: 64, n_layer: 2, ..*published }.config().unwrap();
    let model = LanguageModel::load(&config, &mut RandomWeights { seed: 1 }, &Placement::cpu()).unwrap();
    let (logits, _) = logits(&model, &tokens(&model, 8, 70), &Segments::independent(&[70]), None);
    assert_eq!(logits.dims(), [70, 50304]);
    let largest = logits.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(largest > 1e-3 && largest < 10.0, "{largest}");
}

#[test]
fn a_token_outside_the_vocabulary_is_refused() {
    let (model, _) = trained("mamba2-world");
    let error = model.embed(&[3, 1104]).unwrap_err();
    assert_eq!(error.to_string(), "token 1104 is outside the vocabulary of 1104");
    assert_eq!(error.hint().unwrap(), "the tokenizer does not fit this checkpoint");
}

#[test]
fn a_state_of_another_architecture_or_segment_is_refused() {
    let ((mamba, _), (neox, _)) = (trained("mamba2-world"), trained("neox-world"));
    let (_, state) = mamba.prefill(&[3, 4], &Segments::independent(&[2]), None).unwrap();
    let error = neox.step(&[5], &state).unwrap_err();
    assert_eq!(error.to_string(), "the layer's initial state should be a KV cache, got recurrent");
    assert!(matches!(error, ModelError::State { .. }) && error.hint().is_some());
    let (_, state) = neox.prefill(&[3, 4], &Segments::independent(&[2]), None).unwrap();
    assert_eq!(state.select(&[1]).unwrap_err().to_string(), "segment 1 is beyond the state: it has 1 segments");
}

/// A rotary embedding sees only distances: shifting all positions changes nothing but rounding, a gap changes more.
#[test]
fn attention_reads_the_positions_that_it_is_given() {
    let (model, _) = trained("neox-world");
    let row = tokens(&model, 7, 40);
    let segments = Segments::independent(&[40]);
    let last = |positions: Option<&[u32]>| {
        let mut activations = model.embed(&row).unwrap();
        for layer in 0..model.config().n_layer() {
            let request = LayerRequest { positions, ..LayerRequest::default() };
            activations = model.layer(layer, &activations, &segments, request).unwrap().activations;
        }
        model.head(&activations, &[39]).unwrap()
    };
    let plain = last(None);
    let original: Vec<u32> = (0..40).collect();
    assert!(bits(&plain) == bits(&last(Some(&original))));
    let shifted: Vec<u32> = (100..140).collect();
    assert!(largest_difference(&plain, &last(Some(&shifted))) < 1e-3);
    let gap: Vec<u32> = (0..20).chain(60..80).collect();
    assert!(largest_difference(&plain, &last(Some(&gap))) > 1e-2);
    let segments = Segments::independent(&[2]);
    let request = LayerRequest { positions: Some(&[0]), ..LayerRequest::default() };
    let error = model.layer(0, &model.embed(&[3, 4]).unwrap(), &segments, request).err().unwrap();
    assert_eq!(error.to_string(), "rotary: positions has shape [1], expected [2]");
}
