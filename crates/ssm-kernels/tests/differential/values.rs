use candle_core::Tensor;
use ssm_kernels::ops::{self, Gelu, Rotary};

use super::{Bench, awkward_segments, reference};

/// Rows and width: one value, no multiple of a vector, wide rows.
const SHAPES: [(usize, usize); 7] = [(1, 1), (3, 5), (65, 20), (70, 13), (9, 768), (30, 2560), (2, 9000)];

/// One exponential and one logarithm, each within 3e-7, of raw values read from columns of a wider matrix.
pub(crate) fn softplus(bench: &mut Bench) {
    for (rows, width) in SHAPES {
        let projected = bench.activations(&[rows, width + 13], -30.0, 30.0);
        let bias = bench.parameters(&[width], -1.0, 1.0);
        for (start, limit) in [(2, (0.001, 25.0)), (3, (0.01, 3.0)), (8, (0.0, f32::INFINITY))] {
            let want = reference::softplus::softplus(&projected.here, start, &bias.here, limit);
            let got = ops::softplus(&projected.there, start, &bias.there, limit).unwrap();
            bench.close("dt", &want, &got, 1e-6);
        }
    }
}

/// The error function and the hyperbolic tangent are within 5e-7.
pub(crate) fn gelu(bench: &mut Bench) {
    for (rows, width) in SHAPES {
        let x = bench.activations(&[rows, width], -6.0, 6.0);
        for kind in [Gelu::Exact, Gelu::Tanh] {
            let want = reference::gelu::gelu(&x.here, kind);
            bench.close("gelu", &want, &ops::gelu(&x.there, kind).unwrap(), 1e-6 / 6.0);
        }
    }
}

/// A copy: no bit may differ. A row may be taken several times.
pub(crate) fn gather_rows(bench: &mut Bench) {
    for (rows, width) in SHAPES {
        let x = bench.activations(&[rows, width], -2.0, 2.0);
        let indices: Vec<u32> = (0..2 * rows as u32).map(|i| i * 7 % rows as u32).collect();
        let want = reference::gather_rows::gather_rows(&x.here, &indices);
        bench.same("rows", &want, &ops::gather_rows(&x.there, &indices).unwrap());
        let choice = ops::RowChoice::new(rows, indices, &bench.device).unwrap();
        bench.same("chosen rows", &want, &choice.of(&x.there).unwrap());
    }
}

/// The turn of a pair is two products and a sum, the angle in float32 on both sides; values are copied.
pub(crate) fn rotary(bench: &mut Bench) {
    for (rows, heads, head_dim, dim) in
        [(1, 1, 2, 2), (40, 4, 32, 8), (3, 2, 5, 4), (7, 3, 6, 0), (50, 32, 80, 20), (33, 1, 64, 64)]
    {
        let fused = bench.activations(&[rows, heads * 3 * head_dim], -1.0, 1.0);
        let positions: Vec<u32> = (0..rows as u32).map(|row| row * 51).collect();
        let [queries, keys, values] =
            reference::rotary::rotary(&fused.here, &positions, (heads, head_dim, dim), 10_000.0);
        let turns = Rotary::new(heads, head_dim, dim, 10_000.0).unwrap();
        let got = ops::rotary(&fused.there, &positions, &turns).unwrap();
        bench.close("queries", &queries, &got.queries, 1e-6);
        bench.close("keys", &keys, &got.keys, 1e-6);
        bench.same("values", &values, &got.values);
    }
    for (rows, heads, kv_heads, head_dim, dim) in
        [(1, 1, 1, 2, 2), (40, 4, 2, 32, 8), (3, 6, 3, 5, 4), (7, 3, 1, 6, 0), (50, 30, 30, 128, 64)]
    {
        let fused = bench.activations(&[rows, (heads + 2 * kv_heads) * head_dim], -1.0, 1.0);
        let positions: Vec<u32> = (0..rows as u32).map(|row| row * 51).collect();
        let [queries, keys, values] = reference::rotary::rotary_part_by_part(
            &fused.here,
            &positions,
            (heads, kv_heads),
            (head_dim, dim),
            10_000.0,
        );
        let turns = Rotary::part_by_part((heads, kv_heads), head_dim, dim, 10_000.0).unwrap();
        let got = ops::rotary(&fused.there, &positions, &turns).unwrap();
        bench.close("queries", &queries, &got.queries, 1e-6);
        bench.close("keys", &keys, &got.keys, 1e-6);
        bench.same("values", &values, &got.values);
    }
}

/// Greedy tokens are exact, also where bfloat16 makes logits equal. A log-probability around -10 in float32 is a
/// difference of numbers of that size, each rounded at 1e-6.
pub(crate) fn log_probs(bench: &mut Bench) {
    for (rows, vocabulary) in [(1, 1), (1, 4), (5, 1104), (3, 50_288), (2, 50_277)] {
        let logits = bench.activations(&[rows, vocabulary], -9.0, 9.0);
        let targets: Vec<u32> = (0..rows as u32).map(|row| (row * 31 + 1) % vocabulary as u32).collect();
        let want = reference::log_probs::log_probs(&logits.here, &targets);
        let got = ops::log_probs(&logits.there, &targets).unwrap();
        assert_eq!(want.len(), got.len());
        let tolerance = if bench.device.is_cpu() { 1e-5 } else { 1e-4 };
        for (want, got) in want.iter().zip(&got) {
            assert_eq!(want.greedy, got.greedy);
            assert!((want.log_prob - got.log_prob).abs() < tolerance, "{want:?} {got:?}");
        }
    }
}

/// Without a bad value, then with NaN and infinities at the first and last value of rows and segments.
pub(crate) fn first_non_finite(bench: &mut Bench) {
    for segments in awkward_segments() {
        for width in [1, 7, 64] {
            let tokens = segments.n_tokens();
            let clean = bench.numbers(tokens * width, -2.0, 2.0);
            let last = tokens * width - 1;
            let spoiled = [
                vec![],
                vec![(0, f32::NAN)],
                vec![(last, f32::INFINITY), (last / 2, -f32::NAN)],
                vec![(last / 3, f32::NEG_INFINITY), (last / 3 + 1, f32::NAN), (last, f32::NAN)],
            ];
            for bad in spoiled {
                let mut values = clean.clone();
                for (index, value) in bad {
                    values[index.min(last)] = value;
                }
                let x = Tensor::from_vec(values, (tokens, width), &candle_core::Device::Cpu).unwrap();
                let x = bench.activations_of(&x);
                let want = reference::finite::first_non_finite(&x.here, &segments);
                let got = ops::first_non_finite(&x.there, &segments).unwrap().rows().unwrap();
                assert_eq!(want, got, "{segments:?} {width}");
            }
        }
    }
}
