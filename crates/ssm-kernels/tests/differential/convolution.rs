use ssm_kernels::ops::{self, ConvInput};

use super::{Bench, reference};

/// Up to five products, and one exponential.
const TOLERANCE: f32 = 2e-6;

/// Channels are read from columns of a wider matrix; states are copies.
pub(crate) fn causal_conv1d(bench: &mut Bench) {
    let widths = [(1, 4), (20, 4), (33, 3), (64, 2), (256, 4), (16, 4), (5, 1), (24, 5)];
    for (segments, (channels, d_conv)) in bench.cases(&widths) {
        let x = bench.activations(&[segments.n_tokens(), channels + 8], -2.0, 2.0);
        let weight = bench.parameters(&[d_conv, channels], -1.0, 1.0);
        let bias = bench.parameters(&[channels], -1.0, 1.0);
        let initial = bench.parameters(&[segments.len(), channels, d_conv], -2.0, 2.0);
        for (with, start, silu) in
            [(false, 8, true), (true, 8, true), (true, 2, true), (false, 8, false), (true, 2, false)]
        {
            let (segments, columns, want_states) = (&segments, start..start + channels, true);
            let here = ConvInput {
                x: &x.here,
                columns: columns.clone(),
                weight: &weight.here,
                bias: &bias.here,
                segments,
                initial: with.then_some(&initial.here),
                silu,
                want_states,
            };
            let there = ConvInput {
                x: &x.there,
                columns,
                weight: &weight.there,
                bias: &bias.there,
                segments,
                initial: with.then_some(&initial.there),
                silu,
                want_states,
            };
            let (want, want_states) = reference::causal_conv1d::causal_conv1d(&here);
            let got = ops::causal_conv1d(&there).unwrap();
            bench.close("y", &want, &got.y, TOLERANCE);
            bench.close("states", &want_states, &got.states.unwrap(), 0.0);
        }
    }
}
