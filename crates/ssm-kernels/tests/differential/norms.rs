use ssm_kernels::ops::{self, GateOrder, GatedNorm, RowPlan};

use super::merges::plan;
use super::{Bench, reference};

/// Rows and width: one value, no multiple of a vector, rows of a whole block and beyond.
const SHAPES: [(usize, usize); 10] =
    [(1, 1), (3, 5), (1, 64), (33, 128), (65, 20), (70, 100), (9, 768), (300, 2560), (7, 5120), (2, 9000)];

const EPS: f32 = 1e-5;

/// A few float32 roundings: one sum of squares, a root, two products.
const RMS_TOLERANCE: f32 = 1e-6;
/// A mean is subtracted first, which costs digits where it is large against the deviations.
const LAYER_TOLERANCE: f32 = 3e-6;
/// As the plain norm, and the gate's exponential.
const GATED_TOLERANCE: f32 = 2e-6;

pub(crate) fn add_rms_norm(bench: &mut Bench) {
    for (rows, width) in SHAPES {
        let hidden = bench.activations(&[rows, width], -3.0, 3.0);
        let residual = bench.parameters(&[rows, width], -9.0, 9.0);
        let weight = bench.parameters(&[width], 0.5, 1.5);
        for with in [false, true] {
            let (here, there) = (with.then_some(&residual.here), with.then_some(&residual.there));
            let (want, want_sum) = reference::add_rms_norm::add_rms_norm(&hidden.here, here, &weight.here, EPS);
            let (got, got_sum) = ops::add_rms_norm(&hidden.there, there, &weight.there, EPS, None).unwrap();
            assert_eq!(got.dtype(), bench.dtype);
            bench.close("normed", &want, &got, RMS_TOLERANCE);
            bench.close("sum", &want_sum, &got_sum, 0.0);
        }
    }
    for width in [1, 5, 128, 2560] {
        let hidden = bench.activations(&[9, width], -2.0, 2.0);
        let residual = bench.parameters(&[9, width], -2.0, 2.0);
        let weight = bench.parameters(&[width], 0.5, 1.5);
        let (here, there) = (plan(&candle_core::Device::Cpu), plan(&bench.device));
        let merged = |x, weights| reference::merge_rows::apply_plan(x, &here, weights);
        let (merged, merged_residual) = (merged(&hidden.here, &here.hidden), merged(&residual.here, &here.residual));
        let want = reference::add_rms_norm::add_rms_norm(&merged, Some(&merged_residual), &weight.here, EPS);
        let got = ops::add_rms_norm(&hidden.there, Some(&residual.there), &weight.there, EPS, Some(&there)).unwrap();
        bench.close("normed with a plan", &want.0, &got.0, GATED_TOLERANCE);
        bench.close("sum with a plan", &want.1, &got.1, GATED_TOLERANCE);
    }
}

pub(crate) fn add_layer_norm(bench: &mut Bench) {
    for ((rows, width), offset) in SHAPES.into_iter().zip([0.0, 0.0, 8.0, 50.0, -3.0].into_iter().cycle()) {
        let hidden = bench.activations(&[rows, width], -3.0, 3.0);
        let residual = bench.parameters(&[rows, width], offset - 9.0, offset + 9.0);
        let (weight, bias) = (bench.parameters(&[width], 0.5, 1.5), bench.parameters(&[width], -1.0, 1.0));
        for with in [false, true] {
            let (here, there) = (with.then_some(&residual.here), with.then_some(&residual.there));
            let want = reference::add_layer_norm::add_layer_norm(&hidden.here, here, &weight.here, &bias.here, EPS);
            let got = ops::add_layer_norm(&hidden.there, there, &weight.there, &bias.there, EPS, None).unwrap();
            assert_eq!(got.0.dtype(), bench.dtype);
            bench.close("normed", &want.0, &got.0, LAYER_TOLERANCE);
            bench.close("sum", &want.1, &got.1, 0.0);
        }
    }
    for width in [1, 5, 128, 2560] {
        let hidden = bench.activations(&[9, width], -2.0, 2.0);
        let residual = bench.parameters(&[9, width], -2.0, 2.0);
        let (weight, bias) = (bench.parameters(&[width], 0.5, 1.5), bench.parameters(&[width], -1.0, 1.0));
        let (here, there) = (plan(&candle_core::Device::Cpu), plan(&bench.device));
        let merged = |x, weights| reference::merge_rows::apply_plan(x, &here, weights);
        let (merged, merged_residual) = (merged(&hidden.here, &here.hidden), merged(&residual.here, &here.residual));
        let want =
            reference::add_layer_norm::add_layer_norm(&merged, Some(&merged_residual), &weight.here, &bias.here, EPS);
        let plan: Option<&RowPlan> = Some(&there);
        let got =
            ops::add_layer_norm(&hidden.there, Some(&residual.there), &weight.there, &bias.there, EPS, plan).unwrap();
        bench.close("normed with a plan", &want.0, &got.0, LAYER_TOLERANCE);
        bench.close("sum with a plan", &want.1, &got.1, LAYER_TOLERANCE);
    }
}

/// The gate alone and both orders of gate and norm; the gate is read from columns of a wider matrix.
pub(crate) fn gated_rms_norm(bench: &mut Bench) {
    for (rows, width) in SHAPES.into_iter().chain([(1, 4), (65, 96)]) {
        let y = bench.activations(&[rows, width], -3.0, 3.0);
        let projected = bench.activations(&[rows, width + 13], -4.0, 4.0);
        let weight = bench.parameters(&[width], 0.5, 1.5);
        for z_start in [3, 5, 8] {
            let want = reference::gated_rms_norm::gate(&y.here, &projected.here, z_start);
            bench.close("gate", &want, &ops::gate(&y.there, &projected.there, z_start).unwrap(), GATED_TOLERANCE);
        }
        for (value_start, gate_start) in [(0, 5), (8, 0), (13, 0)] {
            let want = reference::gated_rms_norm::gated_unit(&projected.here, value_start, gate_start, width);
            let got = ops::gated_unit(&projected.there, value_start, gate_start, width).unwrap();
            bench.close("gated unit", &want, &got, GATED_TOLERANCE);
        }
        for order in [GateOrder::GateFirst, GateOrder::NormFirst] {
            for groups in [1, 2, 4].into_iter().filter(|groups| width % groups == 0) {
                let norm = GatedNorm { order, groups, eps: EPS };
                let want = reference::gated_rms_norm::gated_rms_norm(&y.here, &projected.here, 5, &weight.here, norm);
                let got = ops::gated_rms_norm(&y.there, &projected.there, 5, &weight.there, norm).unwrap();
                bench.close("gated", &want, &got, GATED_TOLERANCE);
            }
        }
    }
}

pub(crate) fn rms_norm_parts(bench: &mut Bench) {
    for (rows, widths) in [
        (1, vec![1]),
        (33, vec![3, 5, 5]),
        (70, vec![256, 16, 16]),
        (0, vec![4, 2]),
        (31, vec![17]),
        (1000, vec![31, 33]),
    ] {
        // A GPU has no empty tensors.
        if rows == 0 && bench.device.is_cuda() {
            continue;
        }
        let x = bench.activations(&[rows, widths.iter().sum()], -3.0, 3.0);
        for eps in [1e-6, 0.5] {
            let want = reference::rms_norm_parts::rms_norm_parts(&x.here, &widths, eps);
            let got = ops::rms_norm_parts(&x.there, &widths, eps).unwrap();
            bench.close("parts", &want, &got, RMS_TOLERANCE);
        }
    }
}
