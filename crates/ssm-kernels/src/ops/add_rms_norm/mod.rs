use candle_core::{Device, Tensor};

use super::{RowPlan, add_norm};
use crate::error::{KernelError, unsupported};

const OP: &str = "add_rms_norm";

#[cfg(feature = "cuda")]
static KERNELS: crate::cuda::Image = crate::cuda::image!("add_rms_norm");

/// Adds the mixer's output to the residual stream and normalises the sum.
///
/// `r = hidden + residual` and `y = r / sqrt(mean(r^2) + eps) * weight`; without a residual, `r = hidden`.
///
/// # Shapes
/// - `hidden`: `[tokens, d_model]`; `residual`: the same, float32
/// - `weight`: `[d_model]`
/// - `rows`: rows to gather and merge on the way, as [`RowPlan::apply`] on both branches would; none to take all
/// - result: `(y, r)`, both `[tokens, d_model]`: y of the dtype of `hidden`, r float32
///
/// # Errors
/// Shapes, dtypes or devices that do not fit.
pub fn add_rms_norm(
    hidden: &Tensor,
    residual: Option<&Tensor>,
    weight: &Tensor,
    eps: f32,
    rows: Option<&RowPlan>,
) -> Result<(Tensor, Tensor), KernelError> {
    match hidden.device() {
        Device::Cpu => add_norm::on_cpu(OP, hidden, residual, weight, None, eps, rows),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => add_norm::cuda::on_gpu(&KERNELS, OP, hidden, residual, weight, None, eps, rows),
        other => Err(unsupported(OP, other, hidden.dtype())),
    }
}

/// RMSNorm of one row.
#[inline(always)]
pub(super) fn normalise(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let scale = rms_scale(x, eps);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * weight;
    }
}

/// `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
pub(super) fn rms_scale(x: &[f32], eps: f32) -> f32 {
    scale_of(sum_of_squares(x), x.len() as f32, eps)
}

/// `1 / sqrt(squares / count + eps)`; NaN where the sum of squares overflowed. The scale would be 0 there, and the row would
/// become zeros that look like numbers.
#[inline(always)]
pub(super) fn scale_of(squares: f32, count: f32, eps: f32) -> f32 {
    if squares.is_infinite() { f32::NAN } else { 1.0 / (squares / count + eps).sqrt() }
}

/// Sum of squares over 16 interleaved partial sums: a fixed order that vector units can follow.
#[inline(always)]
fn sum_of_squares(x: &[f32]) -> f32 {
    let mut partial = [0.0_f32; 16];
    let chunks = x.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().map(|x| x * x).sum();
    for chunk in chunks {
        for (partial, x) in partial.iter_mut().zip(chunk) {
            *partial = x.mul_add(*x, *partial);
        }
    }
    partial.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Values, assert_close};
    use super::*;

    /// The definition, row by row in float64.
    fn reference(hidden: &Tensor, residual: Option<&Tensor>, weight: &Tensor, eps: f64) -> (Tensor, Tensor) {
        let weight = weight.to_vec1::<f32>().unwrap();
        let sum = residual.map_or_else(|| hidden.clone(), |residual| (hidden + residual).unwrap());
        let mut out = Vec::new();
        for row in sum.to_vec2::<f32>().unwrap() {
            let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / row.len() as f64;
            out.extend(
                row.iter().zip(&weight).map(|(x, w)| (f64::from(*x) / (mean + eps).sqrt() * f64::from(*w)) as f32),
            );
        }
        (Tensor::from_vec(out, sum.dims(), sum.device()).unwrap(), sum)
    }

    #[test]
    fn equals_the_reference() {
        let mut values = Values(4);
        for (rows, width) in [(1, 1), (1, 64), (33, 128), (70, 100)] {
            let (hidden, residual) =
                (values.tensor(&[rows, width], -3.0, 3.0), values.tensor(&[rows, width], -9.0, 9.0));
            let weight = values.tensor(&[width], 0.5, 1.5);
            for residual in [None, Some(&residual)] {
                let (want, want_sum) = reference(&hidden, residual, &weight, 1e-5);
                let (got, got_sum) = add_rms_norm(&hidden, residual, &weight, 1e-5, None).unwrap();
                assert_close("normed", &want, &got, 1e-6);
                assert_close("residual", &want_sum, &got_sum, 0.0);
            }
        }
    }
}
