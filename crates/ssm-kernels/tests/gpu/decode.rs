//! A step as a graph against its definition, on a model of one Mamba and one Mamba-2 layer of awkward sizes.

use candle_core::{DType, Tensor};
use ssm_kernels::ops::decode::{
    D_CONV, Decoder, DecoderWeights, LayerWeights, Mamba2Weights, MambaWeights, MixerState, MixerWeights,
};

use super::{Bench, on_gpu};

#[path = "../../src/ops/decode/reference.rs"]
mod reference;

use reference::Sequence;

/// Of the largest logit: what rounding to bfloat16 between the kernels leaves after some steps.
const TOLERANCE: f64 = 0.02;

const D_MODEL: usize = 96;
const VOCAB: usize = 77;

fn vector(bench: &mut Bench, shape: &[usize], low: f32, high: f32) -> Tensor {
    bench.parameters(shape, low, high).there
}

fn matrix(bench: &mut Bench, rows: usize, columns: usize) -> Tensor {
    let bound = 2.0 / (columns as f32).sqrt();
    bench.activations(&[rows, columns], -bound, bound).there
}

fn mamba(bench: &mut Bench, d_model: usize) -> MixerWeights {
    let (d_inner, d_state, dt_rank) = (160, 16, 8);
    MixerWeights::Mamba(MambaWeights {
        in_proj: matrix(bench, 2 * d_inner, d_model),
        conv_weight: vector(bench, &[D_CONV, d_inner], -0.5, 0.5),
        conv_bias: vector(bench, &[d_inner], -0.1, 0.1),
        x_proj: matrix(bench, dt_rank + 2 * d_state, d_inner),
        dt_proj: matrix(bench, d_inner, dt_rank),
        dt_bias: vector(bench, &[d_inner], -4.0, -1.0),
        a: vector(bench, &[d_state, d_inner], -8.0, -0.5),
        d: vector(bench, &[d_inner], 0.5, 1.5),
        out_proj: matrix(bench, d_model, d_inner),
    })
}

fn mamba2(bench: &mut Bench, d_model: usize, headdim: usize, ngroups: usize, d_state: usize) -> MixerWeights {
    let (nheads, d_inner) = (4, 4 * headdim);
    let conv_dim = d_inner + 2 * ngroups * d_state;
    MixerWeights::Mamba2(Mamba2Weights {
        in_proj: matrix(bench, d_inner + conv_dim + nheads, d_model),
        conv_weight: vector(bench, &[D_CONV, conv_dim], -0.5, 0.5),
        conv_bias: vector(bench, &[conv_dim], -0.1, 0.1),
        dt_bias: vector(bench, &[nheads], -4.0, -1.0),
        a: vector(bench, &[nheads], -8.0, -0.5),
        d: vector(bench, &[nheads], 0.5, 1.5),
        gated_norm: vector(bench, &[d_inner], 0.5, 1.5),
        gated_norm_eps: 1e-5,
        out_proj: matrix(bench, d_model, d_inner),
        headdim,
        ngroups,
        d_state,
        dt_limit: (0.01, 0.5),
    })
}

fn state(bench: &mut Bench, mixer: &MixerWeights, sequences: usize) -> MixerState {
    let (channels, scan) = match mixer {
        MixerWeights::Mamba(mixer) => (mixer.conv_bias.elem_count(), vec![sequences, mixer.d.elem_count(), 16]),
        MixerWeights::Mamba2(mixer) => {
            (mixer.conv_bias.elem_count(), vec![sequences, mixer.a.elem_count(), mixer.headdim, mixer.d_state])
        }
    };
    MixerState { conv: vector(bench, &[sequences, channels, D_CONV], -1.0, 1.0), ssm: vector(bench, &scan, -1.0, 1.0) }
}

fn model(
    bench: &mut Bench,
    mixers: impl IntoIterator<Item = MixerWeights>,
    d_model: usize,
    vocab: usize,
) -> DecoderWeights {
    let layer = |mixer| LayerWeights { norm: vector(bench, &[d_model], 0.5, 1.5), mixer };
    let layers = mixers.into_iter().map(layer).collect();
    DecoderWeights {
        embedding: matrix(bench, vocab, d_model),
        embedding_factor: 2.0,
        layers,
        final_norm: vector(bench, &[d_model], 0.5, 1.5),
        lm_head: matrix(bench, vocab, d_model),
        norm_eps: 1e-5,
    }
}

/// What a decoder reads in `steps` steps, one list a step, and the logits after the last.
fn decoded(
    weights: &DecoderWeights,
    states: &[MixerState],
    first: Vec<u32>,
    steps: usize,
) -> (Vec<Vec<u32>>, Vec<Vec<f32>>) {
    let mut decoder = Decoder::new(weights.clone(), states).unwrap();
    let mut read = vec![first];
    for _ in 0..steps {
        let next = decoder.generate(read.last().unwrap(), 1).unwrap();
        read.extend(next);
    }
    read.pop();
    (read, decoder.logits().unwrap())
}

fn assert_as_defined(weights: &DecoderWeights, states: &[MixerState], sequence: usize, read: &[Vec<u32>], got: &[f32]) {
    let mut reference = Sequence::new(weights, states, sequence);
    let want = read.iter().map(|tokens| reference.step(tokens[sequence])).last().unwrap();
    let largest = want.iter().fold(0.0_f64, |largest, logit| largest.max(logit.abs()));
    for (want, got) in want.iter().zip(got) {
        let error = (want - f64::from(*got)).abs() / largest;
        assert!(error < TOLERANCE, "sequence {sequence}: {want} {got}");
    }
}

#[test]
#[ignore = "needs a GPU"]
fn decode() {
    for (sequences, headdim, ngroups, d_state) in
        [(1, 64, 1, 128), (3, 16, 2, 32), (9, 72, 1, 64), (17, 128, 4, 256), (32, 24, 1, 128)]
    {
        let bench = &mut on_gpu(DType::BF16);
        let mixers = [mamba(bench, D_MODEL), mamba2(bench, D_MODEL, headdim, ngroups, d_state), mamba(bench, D_MODEL)];
        let states: Vec<MixerState> = mixers.iter().map(|mixer| state(bench, mixer, sequences)).collect();
        let weights = model(bench, mixers, D_MODEL, VOCAB);
        let first = (0..sequences as u32).map(|sequence| sequence * 5 % VOCAB as u32).collect();
        let (read, logits) = decoded(&weights, &states, first, 6);
        for (sequence, logits) in logits.iter().enumerate() {
            assert_as_defined(&weights, &states, sequence, &read, logits);
        }
    }
}

/// So wide that a warp reads several chunks, blocks several tiles, and rings go round; x is kept (2560) or read again (2656). A sequence
/// has the same bits in every batch.
#[test]
#[ignore = "needs a GPU"]
fn wide_models_have_the_same_bits_in_every_batch() {
    for d_model in [2560, 2656] {
        let bench = &mut on_gpu(DType::BF16);
        let mixers = [mamba2(bench, d_model, 64, 1, 128), mamba(bench, d_model)];
        let states: Vec<MixerState> = mixers.iter().map(|mixer| state(bench, mixer, 32)).collect();
        let weights = model(bench, mixers, d_model, 9001);
        let first: Vec<u32> = (0..32).map(|sequence| sequence * 281).collect();
        let (read, logits) = decoded(&weights, &states, first.clone(), 3);
        for sequence in [0, 31] {
            assert_as_defined(&weights, &states, sequence, &read, &logits[sequence]);
        }
        for few in [1, 9] {
            let part = |all: &Tensor| all.narrow(0, 0, few).unwrap();
            let states: Vec<MixerState> =
                states.iter().map(|all| MixerState { conv: part(&all.conv), ssm: part(&all.ssm) }).collect();
            let (own_read, own) = decoded(&weights, &states, first[..few].to_vec(), 3);
            assert!(
                own_read.iter().zip(&read).all(|(own, all)| own[..] == all[..few]),
                "{few} sequences: other tokens"
            );
            let same =
                own.iter().zip(&logits).all(|(own, all)| own.iter().zip(all).all(|(a, b)| a.to_bits() == b.to_bits()));
            assert!(same, "{few} sequences of {d_model} channels: other bits");
        }
    }
}
