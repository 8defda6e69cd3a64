//! Every operation on a GPU against the same operation on the CPU, over awkward shapes. Needs a GPU: `just test-gpu`.
#![cfg(feature = "cuda")]

mod non_finite;

use candle_core::{DType, Device, Tensor};
use ssm_kernels::ops::{
    self, AttentionInput, ConvInput, GateOrder, GatedNorm, Gelu, KeysValues, MergeGroup, MergeRule, Rotary, RowMerges,
    RowPlan,
};
use ssm_kernels::{Segments, device, host};

/// Values from a fixed sequence, rounded to `dtype`: on the CPU as float32, and on the GPU.
struct Values {
    state: u64,
    gpu: Device,
    dtype: DType,
}

impl Values {
    fn new(seed: u64, dtype: DType) -> Self {
        Self { state: seed, gpu: device::open_cuda(0).unwrap(), dtype }
    }

    fn vec(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        (0..len)
            .map(|_| {
                self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                low + (high - low) * ((self.state >> 40) as f32 / (1_u64 << 24) as f32)
            })
            .collect()
    }

    /// Activations: (CPU, GPU).
    fn pair(&mut self, shape: &[usize], low: f32, high: f32) -> (Tensor, Tensor) {
        let values = self.vec(shape.iter().product(), low, high);
        let rounded = Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(self.dtype).unwrap();
        (rounded.to_dtype(DType::F32).unwrap(), rounded.to_device(&self.gpu).unwrap())
    }

    /// Weights, states, residuals: float32 on both.
    fn exact(&mut self, shape: &[usize], low: f32, high: f32) -> (Tensor, Tensor) {
        let values = Tensor::from_vec(self.vec(shape.iter().product(), low, high), shape, &Device::Cpu).unwrap();
        let there = values.to_device(&self.gpu).unwrap();
        (values, there)
    }

    /// Largest relative distance that counts as equal.
    fn limit(&self) -> f64 {
        if self.dtype == DType::BF16 { 6e-3 } else { 1e-5 }
    }

    fn close(&self, what: &str, want: &Tensor, got: &Tensor) {
        let got = host::copy(got).unwrap();
        assert_eq!(want.dims(), got.dims(), "{what}");
        let norm = |x: &Tensor| {
            x.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
        };
        let error = norm(&(want - &got).unwrap()) / norm(want).max(1e-20);
        assert!(error <= self.limit(), "{what} {:?} {:?}: relative error {error:.2e}", want.dims(), self.dtype);
    }
}

const DTYPES: [DType; 2] = [DType::F32, DType::BF16];

fn awkward() -> Vec<Segments> {
    vec![
        Segments::independent(&[1]),
        Segments::independent(&[1, 2, 3, 63, 64, 65, 1000, 2048]),
        Segments::new(&[70, 3, 0, 1, 5, 0, 2], &[None, Some(0), Some(0), Some(0), None, Some(4), Some(5)]).unwrap(),
        Segments::new(&[2500, 1, 2100, 7], &[None, Some(0), Some(0), Some(2)]).unwrap(),
    ]
}

fn bits(x: &Tensor) -> Vec<u32> {
    host::copy(x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
}

/// Copies to the host go through a buffer of 32 MB: less, exactly that, more, and a part of a larger tensor.
#[test]
#[ignore = "needs a GPU"]
fn copies_to_the_host() {
    for (dtype, whole) in [(DType::F32, 8 << 20), (DType::BF16, 16 << 20)] {
        let mut values = Values::new(3, dtype);
        for len in [0, 1, 7, 32_769, whole - 1, whole, whole + 1, 2 * whole + 12_345] {
            let (here, there) = values.pair(&[len], -3.0, 3.0);
            let copied = host::copy(&there).unwrap();
            assert_eq!(here.to_vec1::<f32>().unwrap(), copied.to_vec1::<f32>().unwrap(), "{len} {dtype:?}");
        }
        let (here, there) = values.pair(&[300, 40], -3.0, 3.0);
        let part = |x: &Tensor| host::copy(&x.narrow(1, 3, 20).unwrap()).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(part(&here), part(&there));
    }
}

#[test]
#[ignore = "needs a GPU"]
fn products() {
    for dtype in DTYPES {
        let mut values = Values::new(1, dtype);
        for (m, k, n) in [(1, 1, 1), (3, 7, 5), (65, 128, 648), (130, 33, 17), (300, 2560, 192), (16, 300, 1)] {
            let (x, there) = values.pair(&[m, k], -1.0, 1.0);
            let (w, w_there) = values.pair(&[n, k], -1.0, 1.0);
            let want = ops::linear(&x, &w).unwrap();
            values.close("linear", &want, &ops::linear(&there, &w_there).unwrap());
            values.close("linear_as", &want, &ops::linear_as(&there, &w_there, DType::F32).unwrap());
        }
        // A row has the same bits whatever stands beside it.
        for (k, n) in [(2560, 10576), (5120, 2560), (768, 3352), (1536, 80), (128, 648)] {
            let (_, x) = values.pair(&[5000, k], -1.0, 1.0);
            let (_, w) = values.pair(&[n, k], -1.0, 1.0);
            let whole = ops::linear(&x, &w).unwrap();
            for (start, len) in [(0, 1), (8, 16), (1000, 110), (3, 65), (0, 2048), (904, 4096)] {
                let part = ops::linear(&x.narrow(0, start, len).unwrap().copy().unwrap(), &w).unwrap();
                assert!(bits(&part) == bits(&whole.narrow(0, start, len).unwrap()), "{k}x{n} {dtype:?} {start}+{len}");
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn rows() {
    for dtype in DTYPES {
        let mut values = Values::new(2, dtype);
        for (n, width) in [(1, 1), (3, 5), (65, 20), (70, 128), (9, 768), (300, 2560), (7, 5120), (2, 9000)] {
            let (hidden, hidden_there) = values.pair(&[n, width], -2.0, 2.0);
            let (residual, residual_there) = values.exact(&[n, width], -3.0, 3.0);
            let (weight, weight_there) = values.exact(&[width], 0.5, 1.5);
            for with in [true, false] {
                let (r, t) = (with.then_some(&residual), with.then_some(&residual_there));
                let (y, sum) = ops::add_rms_norm(&hidden, r, &weight, 1e-5, None).unwrap();
                let (got, got_sum) = ops::add_rms_norm(&hidden_there, t, &weight_there, 1e-5, None).unwrap();
                values.close("normed", &y, &got);
                values.close("sum", &sum, &got_sum);
            }
            let (z, z_there) = values.pair(&[n, width + 13], -4.0, 4.0);
            values.close("gate", &ops::gate(&hidden, &z, 8).unwrap(), &ops::gate(&hidden_there, &z_there, 8).unwrap());
            for (order, groups) in
                [(GateOrder::GateFirst, 1), (GateOrder::NormFirst, if width % 4 == 0 { 4 } else { 1 })]
            {
                let norm = GatedNorm { order, groups, eps: 1e-5 };
                let want = ops::gated_rms_norm(&hidden, &z, 5, &weight, norm).unwrap();
                values.close(
                    "gated",
                    &want,
                    &ops::gated_rms_norm(&hidden_there, &z_there, 5, &weight_there, norm).unwrap(),
                );
            }
            let want = ops::softplus(&z, 3, &weight, (0.01, 3.0)).unwrap();
            values.close("softplus", &want, &ops::softplus(&z_there, 3, &weight_there, (0.01, 3.0)).unwrap());
            let ids: Vec<u32> = (0..2 * n as u32).map(|i| i * 7 % n as u32).collect();
            let want = ops::gather_rows(&hidden, &ids).unwrap();
            assert_eq!(bits(&want), bits(&ops::gather_rows(&hidden_there, &ids).unwrap()));
        }
        for (n, vocabulary) in [(1, 4), (5, 1104), (3, 50288), (2, 50277)] {
            let (logits, there) = values.pair(&[n, vocabulary], -9.0, 9.0);
            let targets: Vec<u32> = (0..n as u32).map(|row| (row * 31 + 1) % vocabulary as u32).collect();
            let want = ops::log_probs(&logits, &targets).unwrap();
            for (want, got) in want.iter().zip(ops::log_probs(&there, &targets).unwrap()) {
                assert_eq!(want.greedy, got.greedy);
                assert!((want.log_prob - got.log_prob).abs() < 1e-4, "{want:?} {got:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn convolution() {
    for dtype in DTYPES {
        let mut values = Values::new(3, dtype);
        for segments in awkward() {
            for (channels, d_conv) in [(1, 4), (20, 4), (33, 3), (64, 2), (256, 4), (5, 1), (24, 5)] {
                let (x, there) = values.pair(&[segments.n_tokens(), channels + 8], -2.0, 2.0);
                let (weight, weight_there) = values.exact(&[d_conv, channels], -1.0, 1.0);
                let (bias, bias_there) = values.exact(&[channels], -1.0, 1.0);
                let (initial, initial_there) = values.exact(&[segments.len(), channels, d_conv], -2.0, 2.0);
                let run = |x, weight, bias, initial| {
                    let (segments, columns, want_states) = (&segments, 8..8 + channels, true);
                    ops::causal_conv1d(&ConvInput { x, columns, weight, bias, segments, initial, want_states }).unwrap()
                };
                for with in [false, true] {
                    let want = run(&x, &weight, &bias, with.then_some(&initial));
                    let got = run(&there, &weight_there, &bias_there, with.then_some(&initial_there));
                    values.close("y", &want.y, &got.y);
                    values.close("states", &want.states.unwrap(), &got.states.unwrap());
                }
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn state_space_duality() {
    for dtype in DTYPES {
        let mut values = Values::new(4, dtype);
        for segments in awkward() {
            for (nheads, headdim, ngroups, d_state) in [
                (1, 1, 1, 1),
                (2, 16, 1, 32),
                (6, 20, 3, 7),
                (8, 32, 1, 64),
                (2, 64, 2, 128),
                (24, 64, 1, 128),
                (4, 64, 1, 64),
            ] {
                let rows = segments.n_tokens();
                let (xbc, xbc_there) = values.pair(&[rows, nheads * headdim + 2 * ngroups * d_state], -1.0, 1.0);
                let (dt, dt_there) = values.exact(&[rows, nheads], 0.001, 0.5);
                let (a, a_there) = values.exact(&[nheads], -16.0, -0.1);
                let (d, d_there) = values.exact(&[nheads], -1.0, 1.0);
                let (initial, initial_there) = values.exact(&[segments.len(), nheads, headdim, d_state], -1.0, 1.0);
                let run = |xbc, dt, a, d, initial| {
                    let (segments, want_states) = (&segments, true);
                    let input =
                        ops::SsdInput { xbc, dt, a, d, headdim, ngroups, d_state, segments, initial, want_states };
                    ops::ssd(&input).unwrap()
                };
                for with in [false, true] {
                    let want = run(&xbc, &dt, &a, &d, with.then_some(&initial));
                    let got = run(&xbc_there, &dt_there, &a_there, &d_there, with.then_some(&initial_there));
                    values.close("y", &want.y, &got.y);
                    values.close("states", &want.states.unwrap(), &got.states.unwrap());
                }
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn selective_scan() {
    for dtype in DTYPES {
        let mut values = Values::new(5, dtype);
        for segments in awkward() {
            for (d_inner, d_state) in [(1, 1), (16, 16), (40, 16), (17, 5), (256, 16), (1536, 16)] {
                let rows = segments.n_tokens();
                let (x, x_there) = values.pair(&[rows, d_inner], -2.0, 2.0);
                let (dt, dt_there) = values.pair(&[rows, d_inner], -5.0, 1.0);
                let (bias, bias_there) = values.exact(&[d_inner], -1.0, 0.0);
                let (a, a_there) = values.exact(&[d_state, d_inner], -16.0, -0.1);
                let (projected, projected_there) = values.pair(&[rows, 3 + 2 * d_state], -1.0, 1.0);
                let (d, d_there) = values.exact(&[d_inner], -1.0, 1.0);
                let (z, z_there) = values.pair(&[rows, d_inner + 8], -2.0, 2.0);
                let (initial, initial_there) = values.exact(&[segments.len(), d_inner, d_state], -1.0, 1.0);
                // Half of the rows last as long as they do without a factor.
                let factors: Vec<f32> =
                    (0..rows).map(|row| if row % 2 == 0 { 1.0 } else { 0.3 + row as f32 % 7.0 }).collect();
                let factor = Tensor::from_vec(factors, (rows, 1), &Device::Cpu).unwrap();
                let factor_there = factor.to_device(&values.gpu).unwrap();
                let run = |x, dt_raw, dt_bias, a, projected, d, gate, initial, dt_factor| {
                    let input = ops::SelectiveScanInput {
                        x,
                        dt_raw,
                        dt_bias,
                        dt_factor,
                        a,
                        projected,
                        b_start: 3,
                        c_start: 3 + d_state,
                        d,
                        gate,
                        z_start: 8,
                        segments: &segments,
                        initial,
                        want_states: true,
                        want_y: true,
                        want_dt: true,
                    };
                    ops::selective_scan(&input).unwrap()
                };
                for (with, timed) in [(false, false), (true, false), (true, true)] {
                    let (initial, initial_there) = (with.then_some(&initial), with.then_some(&initial_there));
                    let (factor, factor_there) = (timed.then_some(&factor), timed.then_some(&factor_there));
                    let want = run(&x, &dt, &bias, &a, &projected, &d, &z, initial, factor);
                    let got = run(
                        &x_there,
                        &dt_there,
                        &bias_there,
                        &a_there,
                        &projected_there,
                        &d_there,
                        &z_there,
                        initial_there,
                        factor_there,
                    );
                    values.close("gated", &want.gated, &got.gated);
                    values.close("y", &want.y.unwrap(), &got.y.unwrap());
                    values.close("dt", &want.dt.unwrap(), &got.dt.unwrap());
                    values.close("states", &want.states.unwrap(), &got.states.unwrap());
                }
                let ones = Tensor::ones((rows, 1), DType::F32, &values.gpu).unwrap();
                let [plain, timed] = [None, Some(&ones)].map(|factor| {
                    let (x, a, b, d) = (&x_there, &a_there, &bias_there, &d_there);
                    run(x, &dt_there, b, a, &projected_there, d, &z_there, Some(&initial_there), factor)
                });
                assert_eq!(bits(&plain.gated), bits(&timed.gated), "{d_inner} {d_state}: factors of one");
                assert_eq!(bits(&plain.states.unwrap()), bits(&timed.states.unwrap()), "{d_inner} {d_state}");
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn row_plans() {
    for dtype in DTYPES {
        let mut values = Values::new(6, dtype);
        for width in [1, 5, 128, 2560] {
            let (hidden, hidden_there) = values.pair(&[9, width], -2.0, 2.0);
            let (residual, residual_there) = values.exact(&[9, width], -2.0, 2.0);
            let (weight, weight_there) = values.exact(&[width], 0.5, 1.5);
            let group = |into, sources| MergeGroup { into, own_weight: 1.5, sources };
            let on_hidden = [group(0, vec![(1, 1.0), (2, 2.0)])];
            let on_residual = [group(0, vec![(1, 1.0)]), group(4, vec![(3, 3.0)])];
            let merges = |groups| {
                let rule = MergeRule::WeightedMean;
                [
                    RowMerges { first_row: 0, keep: &[0, 4], groups, rule },
                    RowMerges { first_row: 5, keep: &[0, 1, 3], groups: &[], rule },
                ]
            };
            let plan =
                |device: &Device| RowPlan::from_merges(9, &merges(&on_hidden), &merges(&on_residual), device).unwrap();
            let (here, there) = (plan(&Device::Cpu), plan(&values.gpu));
            let want = here.apply(&hidden, &here.hidden).unwrap();
            assert_eq!(bits(&want), bits(&ops::merge_rows(&hidden, &merges(&on_hidden)).unwrap()));
            let merged = there.apply(&hidden_there, &there.hidden).unwrap();
            values.close("hidden", &want, &merged);
            values.close("host plan", &want, &ops::merge_rows(&hidden_there, &merges(&on_hidden)).unwrap());
            let kept = there.apply(&residual_there, &there.residual).unwrap();
            values.close("residual", &here.apply(&residual, &here.residual).unwrap(), &kept);
            // Gathering on the way gives the bits of gathering first.
            let fused =
                ops::add_rms_norm(&hidden_there, Some(&residual_there), &weight_there, 1e-5, Some(&there)).unwrap();
            let apart = ops::add_rms_norm(&merged, Some(&kept), &weight_there, 1e-5, None).unwrap();
            assert_eq!(bits(&fused.0), bits(&apart.0));
            assert_eq!(bits(&fused.1), bits(&apart.1));
            let (want, _) = ops::add_rms_norm(&hidden, Some(&residual), &weight, 1e-5, Some(&here)).unwrap();
            values.close("fused", &want, &fused.0);
            let layer_norm = |hidden: &Tensor, residual: &Tensor, weight: &Tensor, plan: Option<&RowPlan>| {
                ops::add_layer_norm(hidden, Some(residual), weight, weight, 1e-5, plan).unwrap()
            };
            let fused = layer_norm(&hidden_there, &residual_there, &weight_there, Some(&there));
            let apart = layer_norm(&merged, &kept, &weight_there, None);
            assert_eq!(bits(&fused.0), bits(&apart.0));
            assert_eq!(bits(&fused.1), bits(&apart.1));
            values.close("fused layer norm", &layer_norm(&hidden, &residual, &weight, Some(&here)).0, &fused.0);
            // The hybrid of the released code.
            let half = [RowMerges {
                first_row: 2,
                keep: &[0, 3],
                groups: &[group(0, vec![(1, 1.0), (2, 0.0)]), group(3, vec![(4, 1.0), (5, 1.0)])],
                rule: MergeRule::ChannelTopHalf { kept: 2 },
            }];
            let want = ops::merge_rows(&hidden, &half).unwrap();
            values.close("top half", &want, &ops::merge_rows(&hidden_there, &half).unwrap());
            // Beside it a segment of the weighted mean, as where strategies share a stream: the bits that it has alone.
            let mean = [RowMerges {
                first_row: 0,
                keep: &[0],
                groups: &[group(0, vec![(1, 2.0)])],
                rule: MergeRule::WeightedMean,
            }];
            let both = [mean[0], half[0]];
            let (alone, beside) =
                (ops::merge_rows(&hidden_there, &mean).unwrap(), ops::merge_rows(&hidden_there, &both).unwrap());
            values.close("both", &ops::merge_rows(&hidden, &both).unwrap(), &beside);
            assert_eq!(bits(&alone), bits(&beside.narrow(0, 0, 1).unwrap().contiguous().unwrap()));
        }
    }
}

/// What a Transformer's block does value by value and row by row.
#[test]
#[ignore = "needs a GPU"]
fn rows_of_a_transformer() {
    for dtype in DTYPES {
        let mut values = Values::new(7, dtype);
        for (n, width) in [(1, 1), (3, 5), (65, 24), (70, 128), (9, 768), (300, 2560), (7, 5120), (2, 9000)] {
            let (hidden, hidden_there) = values.pair(&[n, width], -2.0, 2.0);
            let (residual, residual_there) = values.exact(&[n, width], 5.0, 11.0);
            let (weight, weight_there) = values.exact(&[width], 0.5, 1.5);
            let (bias, bias_there) = values.exact(&[width], -1.0, 1.0);
            for with in [true, false] {
                let (r, t) = (with.then_some(&residual), with.then_some(&residual_there));
                let (y, sum) = ops::add_layer_norm(&hidden, r, &weight, &bias, 1e-5, None).unwrap();
                let (got, got_sum) =
                    ops::add_layer_norm(&hidden_there, t, &weight_there, &bias_there, 1e-5, None).unwrap();
                assert_eq!(got.dtype(), dtype);
                values.close("normed", &y, &got);
                values.close("sum", &sum, &got_sum);
            }
            for kind in [Gelu::Exact, Gelu::Tanh] {
                values.close("gelu", &ops::gelu(&hidden, kind).unwrap(), &ops::gelu(&hidden_there, kind).unwrap());
            }
        }
        for (m, k, n) in [(1, 1, 1), (3, 7, 5), (65, 128, 384), (130, 33, 17), (300, 2560, 192)] {
            let (x, there) = values.pair(&[m, k], -1.0, 1.0);
            let (w, w_there) = values.pair(&[n, k], -1.0, 1.0);
            let (bias, bias_there) = values.exact(&[n], -1.0, 1.0);
            let want = ops::linear_with_bias(&x, &w, &bias).unwrap();
            let got = ops::linear_with_bias(&there, &w_there, &bias_there).unwrap();
            assert_eq!(got.dtype(), dtype);
            values.close("linear_with_bias", &want, &got);
        }
        for (rows, heads, head_dim, dim) in [(1, 1, 2, 2), (40, 4, 32, 8), (3, 2, 5, 4), (7, 3, 6, 0), (50, 32, 80, 20)]
        {
            let (fused, there) = values.pair(&[rows, heads * 3 * head_dim], -1.0, 1.0);
            let positions: Vec<u32> = (0..rows as u32).map(|row| row * 51).collect();
            let turns = Rotary::new(heads, head_dim, dim, 1e4).unwrap();
            let (want, got) =
                (ops::rotary(&fused, &positions, &turns).unwrap(), ops::rotary(&there, &positions, &turns).unwrap());
            values.close("queries", &want.queries, &got.queries);
            values.close("keys", &want.keys, &got.keys);
            assert_eq!(bits(&want.values), bits(&got.values));
        }
    }
}

/// Queries, keys and values of a stream.
struct Attended([Tensor; 3]);

impl Attended {
    fn run(&self, heads: usize, segments: &Segments, initial: Option<&[KeysValues]>) -> Tensor {
        let [queries, keys, values] = &self.0;
        ops::causal_attention(&AttentionInput { queries, keys, values, heads, segments, initial }).unwrap()
    }

    fn rows(&self, start: usize, length: usize) -> Self {
        Self(self.0.each_ref().map(|x| x.narrow(0, start, length).unwrap().copy().unwrap()))
    }
}

#[test]
#[ignore = "needs a GPU"]
fn attention() {
    for dtype in DTYPES {
        let mut values = Values::new(8, dtype);
        for segments in awkward() {
            for (heads, head_dim) in [(1, 1), (4, 32), (3, 7), (2, 64), (1, 80), (1, 100), (1, 256)] {
                let (rows, width) = (segments.n_tokens(), heads * head_dim);
                let tensors = [(); 3].map(|()| values.pair(&[rows, width], -2.0, 2.0));
                let (here, there) = (
                    Attended(tensors.each_ref().map(|(here, _)| here.clone())),
                    Attended(tensors.each_ref().map(|(_, there)| there.clone())),
                );
                let (caches, caches_there): (Vec<_>, Vec<_>) = (0..segments.len())
                    .map(|index| {
                        let shape = [1 + index * 59 % 130, width];
                        let ((keys, keys_there), (values, values_there)) =
                            (values.pair(&shape, -2.0, 2.0), values.pair(&shape, -2.0, 2.0));
                        (KeysValues { keys, values }, KeysValues { keys: keys_there, values: values_there })
                    })
                    .unzip();
                for with in [false, true] {
                    let want = here.run(heads, &segments, with.then_some(&caches));
                    let got = there.run(heads, &segments, with.then_some(&caches_there));
                    values.close("attention", &want, &got);
                }
            }
        }
        // A row's bits follow from what it sees, not from what else runs or how its keys are cut into segments.
        let tree = Segments::new(&[5, 130, 70, 66], &[None, None, Some(1), Some(2)]).unwrap();
        let stream = Attended([(); 3].map(|()| values.pair(&[271, 160], -2.0, 2.0).1));
        let whole = stream.run(2, &tree, None);
        assert_eq!(bits(&whole), bits(&stream.run(2, &tree, None)), "the same twice");
        let part = |start, length| bits(&whole.narrow(0, start, length).unwrap());
        let line = stream.rows(5, 266).run(2, &Segments::independent(&[266]), None);
        assert_eq!(bits(&line), part(5, 266), "one segment or three");
        let cut = stream.rows(5, 77).run(2, &Segments::independent(&[77]), None);
        assert_eq!(bits(&cut), part(5, 77), "rows behind");
        let [_, keys, values] = stream.rows(5, 200).0;
        let cache = [KeysValues { keys, values }];
        let stored = stream.rows(205, 66).run(2, &Segments::independent(&[66]), Some(&cache));
        assert_eq!(bits(&stored), part(205, 66), "a stored cache");
    }
}

#[test]
#[ignore = "needs a GPU"]
fn norms_of_parts() {
    for dtype in DTYPES {
        let mut values = Values::new(19, dtype);
        for (rows, widths) in [(1, vec![1]), (33, vec![3, 5, 5]), (70, vec![256, 16, 16]), (1000, vec![31, 33])] {
            let (x, there) = values.pair(&[rows, widths.iter().sum()], -3.0, 3.0);
            let want = ops::rms_norm_parts(&x, &widths, 1e-6).unwrap();
            let got = ops::rms_norm_parts(&there, &widths, 1e-6).unwrap();
            values.close("rms_norm_parts", &want, &got);
            let last = there.narrow(0, rows - 1, 1).unwrap().contiguous().unwrap();
            let alone = ops::rms_norm_parts(&last, &widths, 1e-6).unwrap();
            assert_eq!(bits(&alone), bits(&got.narrow(0, rows - 1, 1).unwrap().contiguous().unwrap()));
        }
    }
}
