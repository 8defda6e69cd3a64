//! What holds for the bits of a result, whatever its values: they depend on the row and on what it sees alone, and ways to
//! compute the same give the same.

use candle_core::{DType, Tensor};
use ssm_kernels::ops::{
    self, AttentionInput, KeysValues, MergeGroup, MergeRule, RowMerges, RowPlan, SelectiveScanInput,
};
use ssm_kernels::{Segments, host};

use super::differential::merges::plan;
use super::differential::{Bench, reference};
use super::{DTYPES, bits, long_and_short, on_gpu, part};

/// Copies to the host go through a buffer of 32 MB: less, exactly that, more, and a part of a larger tensor.
#[test]
#[ignore = "needs a GPU"]
fn copies_to_the_host() {
    for (dtype, whole) in [(DType::F32, 8 << 20), (DType::BF16, 16 << 20)] {
        let mut bench = on_gpu(dtype);
        for len in [0, 1, 7, 32_769, whole - 1, whole, whole + 1, 2 * whole + 12_345] {
            let x = bench.activations(&[len], -3.0, 3.0);
            let copied = host::copy(&x.there).unwrap();
            assert_eq!(x.here.to_vec1::<f32>().unwrap(), copied.to_vec1::<f32>().unwrap(), "{len} {dtype:?}");
        }
        let x = bench.activations(&[300, 40], -3.0, 3.0);
        let part = |x: &Tensor| host::copy(&x.narrow(1, 3, 20).unwrap()).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(part(&x.here), part(&x.there));
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_row_of_a_product_has_the_same_bits_in_any_batch() {
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        for (k, n) in [(2560, 10576), (5120, 2560), (768, 3352), (1536, 80), (128, 648)] {
            let x = bench.activations(&[5000, k], -1.0, 1.0).there;
            let w = bench.activations(&[n, k], -1.0, 1.0).there;
            let whole = ops::linear(&x, &w).unwrap();
            for (start, len) in [(0, 1), (8, 16), (1000, 110), (3, 65), (0, 2048), (904, 4096)] {
                let alone = ops::linear(&part(&x, start, len), &w).unwrap();
                assert!(bits(&alone) == bits(&whole.narrow(0, start, len).unwrap()), "{k}x{n} {dtype:?} {start}+{len}");
            }
        }
    }
}

/// The fastest algorithm is found for one class of row counts at a time. Whichever comes first, on a device of its own, no bit changes; and
/// neither do the places from which rows are read.
#[test]
#[ignore = "needs a GPU"]
fn a_product_has_the_same_bits_whichever_rows_came_first() {
    let segments = long_and_short();
    for dtype in DTYPES {
        for (k, n) in [(256, 160), (520, 72)] {
            let orders = [false, true].map(|longest_first| {
                let mut bench = on_gpu(dtype);
                let wide = bench.activations(&[segments.n_tokens(), k + 16], -1.0, 1.0);
                let w = bench.activations(&[n, k], -1.0, 1.0);
                let (view, weight) = (wide.there.narrow(1, 8, k).unwrap(), w.there);
                let mut parts: Vec<usize> = (0..segments.len()).collect();
                if longest_first {
                    parts.reverse();
                }
                let alone: Vec<Vec<u32>> = parts
                    .iter()
                    .map(|index| {
                        let rows = segments.rows(*index);
                        bits(&ops::linear(&part(&view, rows.start, rows.len()), &weight).unwrap())
                    })
                    .collect();
                let packed = ops::linear(&view, &weight).unwrap();
                for (index, alone) in parts.iter().zip(alone) {
                    let rows = segments.rows(*index);
                    let packed = bits(&packed.narrow(0, rows.start, rows.len()).unwrap());
                    assert!(alone == packed, "{k}x{n} {dtype:?}: {} rows alone and packed", rows.len());
                }
                let want = reference::linear::linear(&wide.here.narrow(1, 8, k).unwrap(), &w.here, None);
                bench.close("linear", &want, &packed, 0.0);
                bits(&packed)
            });
            assert!(orders[0] == orders[1], "{k}x{n} {dtype:?}: short or long ones first");
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_factor_of_one_changes_no_bit_of_a_scan() {
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        for (segments, (d_inner, d_state)) in bench.cases(&[(1, 1), (16, 16), (40, 16), (17, 5), (256, 16), (1536, 16)])
        {
            let rows = segments.n_tokens();
            let x = bench.activations(&[rows, d_inner], -2.0, 2.0).there;
            let dt_raw = bench.activations(&[rows, d_inner], -5.0, 1.0).there;
            let dt_bias = bench.parameters(&[d_inner], -1.0, 0.0).there;
            let a = bench.parameters(&[d_state, d_inner], -16.0, -0.1).there;
            let projected = bench.activations(&[rows, 3 + 2 * d_state], -1.0, 1.0).there;
            let d = bench.parameters(&[d_inner], -1.0, 1.0).there;
            let gate = bench.activations(&[rows, d_inner + 8], -2.0, 2.0).there;
            let initial = bench.parameters(&[segments.len(), d_inner, d_state], -1.0, 1.0).there;
            let ones = Tensor::ones((rows, 1), DType::F32, &bench.device).unwrap();
            let [plain, timed] = [None, Some(&ones)].map(|dt_factor| {
                ops::selective_scan(&SelectiveScanInput {
                    x: &x,
                    dt_raw: &dt_raw,
                    dt_bias: &dt_bias,
                    dt_factor,
                    a: &a,
                    projected: &projected,
                    b_start: 3,
                    c_start: 3 + d_state,
                    d: &d,
                    gate: &gate,
                    z_start: 8,
                    segments: &segments,
                    initial: Some(&initial),
                    want_states: true,
                    want_y: true,
                    want_dt: true,
                })
                .unwrap()
            });
            assert_eq!(bits(&plain.gated), bits(&timed.gated), "{d_inner} {d_state}: factors of one");
            assert_eq!(bits(&plain.states.unwrap()), bits(&timed.states.unwrap()), "{d_inner} {d_state}");
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_norm_that_gathers_on_the_way_has_the_bits_of_gathering_first() {
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        for width in [1, 5, 128, 2560] {
            let hidden = bench.activations(&[9, width], -2.0, 2.0).there;
            let residual = bench.parameters(&[9, width], -2.0, 2.0).there;
            let weight = bench.parameters(&[width], 0.5, 1.5).there;
            let plan = plan(&bench.device);
            let merged = plan.apply(&hidden, &plan.hidden).unwrap();
            let kept = plan.apply(&residual, &plan.residual).unwrap();
            let rms_norm = |hidden: &Tensor, residual: &Tensor, plan: Option<&RowPlan>| {
                ops::add_rms_norm(hidden, Some(residual), &weight, 1e-5, plan).unwrap()
            };
            let layer_norm = |hidden: &Tensor, residual: &Tensor, plan: Option<&RowPlan>| {
                ops::add_layer_norm(hidden, Some(residual), &weight, &weight, 1e-5, plan).unwrap()
            };
            for (fused, apart) in [
                (rms_norm(&hidden, &residual, Some(&plan)), rms_norm(&merged, &kept, None)),
                (layer_norm(&hidden, &residual, Some(&plan)), layer_norm(&merged, &kept, None)),
            ] {
                assert_eq!(bits(&fused.0), bits(&apart.0));
                assert_eq!(bits(&fused.1), bits(&apart.1));
            }
        }
    }
}

/// Strategies share a stream: a segment of the weighted mean has the bits that it has alone where another segment merges by the
/// hybrid of the released code.
#[test]
#[ignore = "needs a GPU"]
fn a_segment_is_merged_alike_whatever_the_rule_of_another() {
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        for width in [1, 5, 128, 2560] {
            let x = bench.activations(&[9, width], -2.0, 2.0).there;
            let group = |into, sources| MergeGroup { into, own_weight: 1.5, sources };
            let mean_groups = [group(0, vec![(1, 2.0)])];
            let half_groups = [group(0, vec![(1, 1.0), (2, 0.0)]), group(3, vec![(4, 1.0), (5, 1.0)])];
            let mean = RowMerges { first_row: 0, keep: &[0], groups: &mean_groups, rule: MergeRule::WeightedMean };
            let half = RowMerges {
                first_row: 2,
                keep: &[0, 3],
                groups: &half_groups,
                rule: MergeRule::ChannelTopHalf { kept: 2 },
            };
            let (alone, shared) = (ops::merge_rows(&x, &[mean]).unwrap(), ops::merge_rows(&x, &[mean, half]).unwrap());
            assert_eq!(bits(&alone), bits(&part(&shared, 0, 1)));
        }
    }
}

/// Queries, keys and values of a stream.
struct Attended([Tensor; 3]);

impl Attended {
    fn new(bench: &mut Bench, rows: usize, width: usize) -> Self {
        Self([(); 3].map(|()| bench.activations(&[rows, width], -2.0, 2.0).there))
    }

    fn run(&self, heads: usize, segments: &Segments, initial: Option<&[KeysValues]>) -> Tensor {
        let [queries, keys, values] = &self.0;
        ops::causal_attention(&AttentionInput { queries, keys, values, heads, kv_heads: heads, segments, initial })
            .unwrap()
    }

    fn rows(&self, start: usize, length: usize) -> Self {
        Self(self.0.each_ref().map(|x| part(x, start, length)))
    }
}

/// A row's bits follow from what it sees, not from what else runs or how its keys are cut into segments.
#[test]
#[ignore = "needs a GPU"]
fn a_row_of_attention_depends_on_what_it_sees_alone() {
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        let tree = Segments::new(&[5, 130, 70, 66], &[None, None, Some(1), Some(2)]).unwrap();
        let stream = Attended::new(&mut bench, 271, 160);
        let whole = stream.run(2, &tree, None);
        assert_eq!(bits(&whole), bits(&stream.run(2, &tree, None)), "the same twice");
        let of_whole = |start, length| bits(&part(&whole, start, length));
        let line = stream.rows(5, 266).run(2, &Segments::independent(&[266]), None);
        assert_eq!(bits(&line), of_whole(5, 266), "one segment or three");
        let cut = stream.rows(5, 77).run(2, &Segments::independent(&[77]), None);
        assert_eq!(bits(&cut), of_whole(5, 77), "later rows");
        let [_, keys, values] = stream.rows(5, 200).0;
        let cache = [KeysValues { keys, values }];
        let stored = stream.rows(205, 66).run(2, &Segments::independent(&[66]), Some(&cache));
        assert_eq!(bits(&stored), of_whole(205, 66), "a stored cache");
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_row_of_normed_parts_has_the_same_bits_in_any_batch() {
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        for (rows, widths) in [(1, vec![1]), (33, vec![3, 5, 5]), (70, vec![256, 16, 16]), (1000, vec![31, 33])] {
            let x = bench.activations(&[rows, widths.iter().sum()], -3.0, 3.0).there;
            let whole = ops::rms_norm_parts(&x, &widths, 1e-6).unwrap();
            let alone = ops::rms_norm_parts(&part(&x, rows - 1, 1), &widths, 1e-6).unwrap();
            assert_eq!(bits(&alone), bits(&part(&whole, rows - 1, 1)));
        }
    }
}
