//! Values that are NaN or infinite, on a GPU.

use candle_core::{DType, Device, Tensor};
use ssm_kernels::ops::reduction::{
    self, Carry, NO_FAULT, Pairing, RowNorm, ScoreMetric, Sides, Similarity, TokenState,
};
use ssm_kernels::ops::{self, Gelu, MergeGroup, MergeRule, RowMerges};
use ssm_kernels::{Segments, host};

use super::{DTYPES, on_gpu};

/// NaN goes through every operation that takes a minimum, maximum or comparison of activations, as it does on the CPU.
#[test]
#[ignore = "needs a GPU"]
fn nan_stays_nan() {
    let finite = |x: &Tensor| {
        let rows = host::copy(x).unwrap().to_vec2::<f32>().unwrap();
        rows.iter().map(|row| row.iter().all(|value| value.is_finite())).collect::<Vec<_>>()
    };
    for dtype in DTYPES {
        for width in [64, 2560, 7] {
            let mut bench = on_gpu(dtype);
            let gpu = bench.device.clone();
            let bad = 5;
            let mut rows = bench.numbers(9 * width, -2.0, 2.0);
            rows[bad * width + 3] = f32::NAN;
            let x = Tensor::from_vec(rows, (9, width), &Device::Cpu)
                .unwrap()
                .to_dtype(dtype)
                .unwrap()
                .to_device(&gpu)
                .unwrap();
            let weight = bench.parameters(&[width], 0.5, 1.5).there;
            let all_but_one: Vec<bool> = (0..9).map(|row| row != bad).collect();
            let what = format!("{dtype:?} {width}");
            let dt = ops::softplus(&x, 0, &weight, (0.0, f32::INFINITY)).unwrap();
            assert_eq!(finite(&dt), all_but_one, "softplus {what}");
            let dt = ops::softplus(&x, 0, &weight, (0.001, 25.0)).unwrap();
            assert_eq!(finite(&dt), all_but_one, "softplus within bounds {what}");
            let (normed, sum) = ops::add_rms_norm(&x, None, &weight, 1e-5, None).unwrap();
            assert_eq!((finite(&normed), finite(&sum)), (all_but_one.clone(), all_but_one.clone()), "rms {what}");
            let (normed, _) = ops::add_layer_norm(&x, None, &weight, &weight, 1e-5, None).unwrap();
            assert_eq!(finite(&normed), all_but_one, "layer norm {what}");
            assert_eq!(finite(&ops::gelu(&x, Gelu::Tanh).unwrap()), all_but_one, "gelu {what}");
            let scores = ops::log_probs(&x, &[1; 9]).unwrap();
            let known: Vec<bool> = scores.iter().map(|score| score.log_prob.is_finite()).collect();
            assert_eq!(known, all_but_one, "log_probs {what}");
            let segments = Segments::independent(&[4, 0, 5]);
            let found = ops::first_non_finite(&x, &segments).unwrap().rows().unwrap();
            assert_eq!(found, [None, None, Some(bad - 4)], "first_non_finite {what}");
            let groups = [MergeGroup { into: 0, own_weight: 1.0, sources: vec![(1, 1.0), (2, 1.0)] }];
            for sign in [1.0_f32, -1.0] {
                let mut rows = vec![1.0_f32; 3 * width];
                rows[2 * width + 1] = f32::NAN.copysign(sign);
                let x = Tensor::from_vec(rows, (3, width), &Device::Cpu)
                    .unwrap()
                    .to_dtype(dtype)
                    .unwrap()
                    .to_device(&gpu)
                    .unwrap();
                let rule = MergeRule::ChannelTopHalf { kept: 1 };
                let merged =
                    ops::merge_rows(&x, &[RowMerges { first_row: 0, keep: &[0], groups: &groups, rule }]).unwrap();
                assert_eq!(finite(&merged), [false], "merge {what}");
            }
            // A row whose sum of squares overflows is not a row of zeros.
            let large = bench.parameters(&[9, width], 1e25, 2e25).there;
            let (normed, _) = ops::add_rms_norm(&large, None, &weight, 1e-5, None).unwrap();
            assert_eq!(finite(&normed), [false; 9], "overflow {what}");
        }
    }
}

/// A value that is ranked on the device and is NaN or infinite is noted with its segment and row, whatever the other values.
#[test]
#[ignore = "needs a GPU"]
fn faults_of_a_ranking_are_noted() {
    for dtype in DTYPES {
        for width in [64, 2560, 7] {
            let mut bench = on_gpu(dtype);
            let gpu = bench.device.clone();
            let segments = Segments::independent(&[300, 40, 129]);
            let (n, lengths) = (469, [250, 40, 100]);
            let there = |rows: &[f32]| {
                let x = Tensor::from_slice(rows, (n, width), &Device::Cpu).unwrap();
                x.to_dtype(dtype).unwrap().to_device(&gpu).unwrap()
            };
            let tokens = TokenState {
                sizes: Tensor::ones(n, DType::F32, &gpu).unwrap(),
                protected: Tensor::zeros(n, DType::U8, &gpu).unwrap(),
            };
            let clean = bench.numbers(n * width, -2.0, 2.0);
            // The faults of selecting by score, and of pairing with and without scores and clipping.
            let faults = |rows: &[f32]| {
                let x = there(rows);
                let (scores, norms) =
                    reduction::token_scores(&x, Some(ScoreMetric::Clip), Some(RowNorm::Plain)).unwrap();
                let (_, clipped) = reduction::token_scores(&x, None, Some(RowNorm::Clipped)).unwrap();
                let scores = scores.unwrap();
                let selected = reduction::select_tokens(&scores, &tokens, &segments, &lengths, true).unwrap();
                let mut all = vec![selected.faults.to_vec1::<u32>().unwrap()];
                for (clip, norms, partition) in
                    [(false, norms, None), (true, clipped.clone(), None), (true, clipped, Some(&scores))]
                {
                    let pairing = Pairing {
                        similarity: Similarity { x: &x, inverse_norms: norms.as_ref().unwrap(), clip, window: None },
                        sides: partition.map_or(Sides::EvenOdd, Sides::Halves),
                        prune_scores: None,
                        hidden: Carry::Mean,
                        residual: Carry::Drop,
                        tokens: &tokens,
                        segments: &segments,
                        candidates: &[300, 40, 129],
                        lengths: &lengths,
                    };
                    all.push(reduction::pair_tokens(&pairing).unwrap().faults.to_vec1::<u32>().unwrap());
                }
                all
            };
            let what = format!("{dtype:?} {width}");
            assert!(faults(&clean).iter().flatten().all(|row| *row == NO_FAULT), "{what}: clean");
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
                for (row, segment, noted) in
                    [(7, 0, true), (200, 0, true), (310, 1, false), (340, 2, true), (468, 2, true)]
                {
                    let mut rows = clean.clone();
                    rows[row * width + 5] = bad;
                    for (kind, faults) in faults(&rows).iter().enumerate() {
                        for (index, fault) in faults.iter().enumerate() {
                            // A segment that loses nothing ranks nothing.
                            let expected = index == segment && noted;
                            assert_eq!(
                                *fault != NO_FAULT,
                                expected,
                                "{what}: {bad} in row {row}, ranking {kind}: {faults:?}"
                            );
                        }
                        if kind == 0 && noted {
                            assert_eq!(faults[segment] as usize, row - segments.rows(segment).start, "{what}");
                        }
                    }
                }
            }
        }
    }
}
