//! The definition, value by value in float64.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, FRAC_2_SQRT_PI};

use candle_core::Tensor;
use ssm_kernels::ops::Gelu;

/// GELU of <https://arxiv.org/abs/1606.08415>: `x / 2 * (1 + erf(x / sqrt(2)))`, or its approximation
/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
///
/// # Shapes
/// - `x` and result: `[tokens, channels]`
pub(crate) fn gelu(x: &Tensor, kind: Gelu) -> Tensor {
    let mut out = Vec::new();
    for x in x.flatten_all().unwrap().to_vec1::<f32>().unwrap() {
        let x = f64::from(x);
        let share = match kind {
            Gelu::Exact => erf(x * FRAC_1_SQRT_2),
            Gelu::Tanh => (FRAC_2_PI.sqrt() * (x + 0.044_715 * x.powi(3))).tanh(),
        };
        out.push((0.5 * x * (1.0 + share)) as f32);
    }
    Tensor::from_vec(out, x.dims(), x.device()).unwrap()
}

/// The error function by its Taylor series; beyond 6 it is 1 to all digits of float64.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..300 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * FRAC_2_SQRT_PI
}
