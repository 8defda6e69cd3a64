use candle_core::{Device, Tensor};
use ssm_kernels::ops::{self, SelectiveScanInput, SsdInput};

use super::{Bench, Pair, reference};

/// A state is a sum over all tokens before it, each step rounded; decays shrink what was rounded before.
const SCAN_TOLERANCE: f32 = 2e-6;
/// States of the chunked recurrence, and its outputs: their decays are exponentials of differences between running sums that
/// reach 500 within a chunk, where float32 resolves 3e-5.
const SSD_STATE_TOLERANCE: f32 = 3e-6;
const SSD_TOLERANCE: f32 = 5e-6;

/// Which side of a pair is read.
type Side = fn(&Pair) -> &Tensor;
const HERE: Side = |pair| &pair.here;
const THERE: Side = |pair| &pair.there;

pub(crate) fn selective_scan(bench: &mut Bench) {
    let widths = [(1, 1), (16, 16), (40, 16), (64, 8), (17, 5), (256, 16), (1536, 16)];
    for (segments, (d_inner, d_state)) in bench.cases(&widths) {
        let rows = segments.n_tokens();
        let x = bench.activations(&[rows, d_inner], -2.0, 2.0);
        let dt_raw = bench.activations(&[rows, d_inner], -5.0, 1.0);
        let dt_bias = bench.parameters(&[d_inner], -1.0, 0.0);
        let a = bench.parameters(&[d_state, d_inner], -16.0, -0.1);
        let projected = bench.activations(&[rows, 3 + 2 * d_state], -1.0, 1.0);
        let d = bench.parameters(&[d_inner], -1.0, 1.0);
        let gate = bench.activations(&[rows, d_inner + 8], -2.0, 2.0);
        let initial = bench.parameters(&[segments.len(), d_inner, d_state], -1.0, 1.0);
        // Every other row lasts as long as it does without a factor.
        let factors: Vec<f32> = (0..rows).map(|row| if row % 2 == 0 { 1.0 } else { 0.3 + row as f32 % 7.0 }).collect();
        let factor = bench.parameters_of(Tensor::from_vec(factors, (rows, 1), &Device::Cpu).unwrap());
        for (with, timed) in [(false, false), (true, false), (true, true)] {
            let input = |side: Side| SelectiveScanInput {
                x: side(&x),
                dt_raw: side(&dt_raw),
                dt_bias: side(&dt_bias),
                dt_factor: timed.then_some(side(&factor)),
                a: side(&a),
                projected: side(&projected),
                b_start: 3,
                c_start: 3 + d_state,
                d: side(&d),
                gate: side(&gate),
                z_start: 8,
                segments: &segments,
                initial: with.then_some(side(&initial)),
                want_states: true,
                want_y: true,
                want_dt: true,
            };
            let want = reference::selective_scan::selective_scan(&input(HERE));
            let got = ops::selective_scan(&input(THERE)).unwrap();
            bench.close("gated", &want.gated, &got.gated, SCAN_TOLERANCE);
            bench.close("y", &want.y, &got.y.unwrap(), SCAN_TOLERANCE);
            bench.close("dt", &want.dt, &got.dt.unwrap(), SCAN_TOLERANCE);
            bench.close("states", &want.states, &got.states.unwrap(), SCAN_TOLERANCE);
        }
    }
}

pub(crate) fn ssd(bench: &mut Bench) {
    let widths = [
        (1, 1, 1, 1),
        (2, 16, 1, 32),
        (4, 8, 2, 16),
        (6, 20, 3, 7),
        (8, 32, 1, 64),
        (2, 64, 2, 128),
        (4, 64, 1, 64),
        (24, 64, 1, 128),
    ];
    for (segments, (nheads, headdim, ngroups, d_state)) in bench.cases(&widths) {
        let rows = segments.n_tokens();
        let xbc = bench.activations(&[rows, nheads * headdim + 2 * ngroups * d_state], -1.0, 1.0);
        let dt = bench.parameters(&[rows, nheads], 0.001, 0.5);
        let a = bench.parameters(&[nheads], -16.0, -0.1);
        let d = bench.parameters(&[nheads], -1.0, 1.0);
        let initial = bench.parameters(&[segments.len(), nheads, headdim, d_state], -1.0, 1.0);
        for with in [false, true] {
            let input = |side: Side| SsdInput {
                xbc: side(&xbc),
                dt: side(&dt),
                a: side(&a),
                d: side(&d),
                headdim,
                ngroups,
                d_state,
                segments: &segments,
                initial: with.then_some(side(&initial)),
                want_states: true,
            };
            let (want, want_states) = reference::ssd::ssd(&input(HERE));
            let got = ops::ssd(&input(THERE)).unwrap();
            bench.close("y", &want, &got.y, SSD_TOLERANCE);
            bench.close("states", &want_states, &got.states.unwrap(), SSD_STATE_TOLERANCE);
        }
    }
}
