use candle_core::DType;
use ssm_kernels::ops;

use super::{Bench, reference};

/// Float32 sums over up to 2,560 products in an order of their own.
const TOLERANCE: f32 = 1e-5;

/// With and without a bias, into the dtype of the bench and into float32, and from some columns of a wider matrix.
pub(crate) fn linear(bench: &mut Bench) {
    for (m, k, n) in [
        (1, 1, 1),
        (3, 7, 5),
        (1, 3, 5),
        (63, 128, 648),
        (65, 128, 384),
        (130, 33, 17),
        (70, 33, 17),
        (300, 2560, 192),
        (16, 300, 1),
    ] {
        let x = bench.activations(&[m, k], -1.0, 1.0);
        let weight = bench.activations(&[n, k], -1.0, 1.0);
        let bias = bench.parameters(&[n], -1.0, 1.0);
        let want = reference::linear::linear(&x.here, &weight.here, None);
        bench.close("linear", &want, &ops::linear(&x.there, &weight.there).unwrap(), TOLERANCE);
        let wide = ops::linear_as(&x.there, &weight.there, DType::F32).unwrap();
        assert_eq!(wide.dtype(), DType::F32);
        bench.close("linear_as", &want, &wide, TOLERANCE);
        let want = reference::linear::linear(&x.here, &weight.here, Some(&bias.here));
        let got = ops::linear_with_bias(&x.there, &weight.there, &bias.there).unwrap();
        assert_eq!(got.dtype(), bench.dtype);
        bench.close("linear_with_bias", &want, &got, TOLERANCE);
        for start in [3, 8] {
            let wide = bench.activations(&[m, k + 16], -1.0, 1.0);
            let want = reference::linear::linear(&wide.here.narrow(1, start, k).unwrap(), &weight.here, None);
            let got = ops::linear(&wide.there.narrow(1, start, k).unwrap(), &weight.there).unwrap();
            bench.close("linear of columns", &want, &got, TOLERANCE);
        }
    }
}
