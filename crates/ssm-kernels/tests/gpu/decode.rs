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

fn mamba(bench: &mut Bench) -> MixerWeights {
    let (d_inner, d_state, dt_rank) = (160, 16, 8);
    MixerWeights::Mamba(MambaWeights {
        in_proj: matrix(bench, 2 * d_inner, D_MODEL),
        conv_weight: vector(bench, &[D_CONV, d_inner], -0.5, 0.5),
        conv_bias: vector(bench, &[d_inner], -0.1, 0.1),
        x_proj: matrix(bench, dt_rank + 2 * d_state, d_inner),
        dt_proj: matrix(bench, d_inner, dt_rank),
        dt_bias: vector(bench, &[d_inner], -4.0, -1.0),
        a: vector(bench, &[d_state, d_inner], -8.0, -0.5),
        d: vector(bench, &[d_inner], 0.5, 1.5),
        out_proj: matrix(bench, D_MODEL, d_inner),
    })
}

fn mamba2(bench: &mut Bench, headdim: usize, ngroups: usize, d_state: usize) -> MixerWeights {
    let (nheads, d_inner) = (4, 4 * headdim);
    let conv_dim = d_inner + 2 * ngroups * d_state;
    MixerWeights::Mamba2(Mamba2Weights {
        in_proj: matrix(bench, d_inner + conv_dim + nheads, D_MODEL),
        conv_weight: vector(bench, &[D_CONV, conv_dim], -0.5, 0.5),
        conv_bias: vector(bench, &[conv_dim], -0.1, 0.1),
        dt_bias: vector(bench, &[nheads], -4.0, -1.0),
        a: vector(bench, &[nheads], -8.0, -0.5),
        d: vector(bench, &[nheads], 0.5, 1.5),
        gated_norm: vector(bench, &[d_inner], 0.5, 1.5),
        gated_norm_eps: 1e-5,
        out_proj: matrix(bench, D_MODEL, d_inner),
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

#[test]
#[ignore = "needs a GPU"]
fn decode() {
    for (sequences, headdim, ngroups, d_state) in
        [(1, 64, 1, 128), (3, 16, 2, 32), (9, 72, 1, 64), (17, 128, 4, 256), (32, 24, 1, 128)]
    {
        let bench = &mut on_gpu(DType::BF16);
        let mixers = [mamba(bench), mamba2(bench, headdim, ngroups, d_state), mamba(bench)];
        let states: Vec<MixerState> = mixers.iter().map(|mixer| state(bench, mixer, sequences)).collect();
        let layers = mixers.map(|mixer| LayerWeights { norm: vector(bench, &[D_MODEL], 0.5, 1.5), mixer });
        let weights = DecoderWeights {
            embedding: matrix(bench, VOCAB, D_MODEL),
            embedding_factor: 2.0,
            layers: layers.into(),
            final_norm: vector(bench, &[D_MODEL], 0.5, 1.5),
            lm_head: matrix(bench, VOCAB, D_MODEL),
            norm_eps: 1e-5,
        };
        let first: Vec<u32> = (0..sequences as u32).map(|sequence| sequence * 5 % VOCAB as u32).collect();
        let mut decoder = Decoder::new(weights.clone(), &states).unwrap();
        let mut read = vec![first];
        for _ in 0..6 {
            let next = decoder.generate(read.last().unwrap(), 1).unwrap();
            read.extend(next);
        }
        let got = decoder.logits().unwrap();
        for sequence in 0..sequences {
            let mut reference = Sequence::new(&weights, &states, sequence);
            let mut want = Vec::new();
            for tokens in &read[..6] {
                want = reference.step(tokens[sequence]);
            }
            let largest = want.iter().fold(0.0_f64, |largest, logit| largest.max(logit.abs()));
            for (want, got) in want.iter().zip(&got[sequence]) {
                let error = (want - f64::from(*got)).abs() / largest;
                assert!(error < TOLERANCE, "{sequences} sequences, {sequence}: {want} {got}");
            }
        }
    }
}
