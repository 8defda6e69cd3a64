use candle_core::{Device, Tensor};

use super::add_rms_norm::scale_of;
use super::{RowPlan, add_norm};
use crate::error::{KernelError, unsupported};

const OP: &str = "add_layer_norm";

#[cfg(feature = "cuda")]
static KERNELS: crate::cuda::Image = crate::cuda::image!("add_layer_norm");

/// Adds a block's output to the residual stream and standardises the sum.
///
/// `r = hidden + residual` and `y = (r - mean(r)) / sqrt(var(r) + eps) * weight + bias` with the variance over all channels
/// (divided by their number); without a residual, `r = hidden`.
///
/// # Shapes
/// - `hidden`: `[tokens, d_model]`; `residual`: the same, float32
/// - `weight`, `bias`: `[d_model]`
/// - `rows`: rows to gather and merge on the way, as [`RowPlan::apply`] on both branches would; none to take all
/// - result: `(y, r)`, both `[tokens, d_model]`: y of the dtype of `hidden`, r float32
///
/// # Errors
/// Shapes, dtypes or devices that do not fit.
pub fn add_layer_norm(
    hidden: &Tensor,
    residual: Option<&Tensor>,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
    rows: Option<&RowPlan>,
) -> Result<(Tensor, Tensor), KernelError> {
    match hidden.device() {
        Device::Cpu => add_norm::on_cpu(OP, hidden, residual, weight, Some(bias), eps, rows),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => add_norm::cuda::on_gpu(&KERNELS, OP, hidden, residual, weight, Some(bias), eps, rows),
        other => Err(unsupported(OP, other, hidden.dtype())),
    }
}

/// `LayerNorm` of one row; the deviations from the mean are squared in a second pass, which loses no digits.
#[inline(always)]
pub(super) fn standardise(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let count = x.len() as f32;
    let mean = sum(x, |value| value) / count;
    let scale = scale_of(sum(x, |value| (value - mean) * (value - mean)), count, eps);
    for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = ((x - mean) * scale).mul_add(*weight, *bias);
    }
}

/// Sum of a function of the values over 16 interleaved partial sums: a fixed order that vector units can follow.
#[inline(always)]
fn sum(x: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut partial = [0.0_f32; 16];
    let chunks = x.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().map(|value| of(*value)).sum();
    for chunk in chunks {
        for (partial, value) in partial.iter_mut().zip(chunk) {
            *partial += of(*value);
        }
    }
    partial.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Values, assert_close};
    use super::*;

    /// The definition, row by row in float64.
    fn reference(sum: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Tensor {
        let (weight, bias) = (weight.to_vec1::<f32>().unwrap(), bias.to_vec1::<f32>().unwrap());
        let mut out = Vec::new();
        for row in sum.to_vec2::<f32>().unwrap() {
            let row: Vec<f64> = row.into_iter().map(f64::from).collect();
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
            let affine = row.iter().zip(&weight).zip(&bias);
            out.extend(affine.map(|((x, weight), bias)| {
                ((x - mean) / (variance + eps).sqrt() * f64::from(*weight) + f64::from(*bias)) as f32
            }));
        }
        Tensor::from_vec(out, sum.dims(), sum.device()).unwrap()
    }

    #[test]
    fn equals_the_reference() {
        let mut values = Values(14);
        for (rows, width, offset) in [(1, 1, 0.0), (1, 64, 0.0), (33, 128, 50.0), (70, 100, -3.0)] {
            let (hidden, residual) =
                (values.tensor(&[rows, width], -3.0, 3.0), values.tensor(&[rows, width], offset - 9.0, offset + 9.0));
            let (weight, bias) = (values.tensor(&[width], 0.5, 1.5), values.tensor(&[width], -1.0, 1.0));
            for residual in [None, Some(&residual)] {
                let want_sum = residual.map_or_else(|| hidden.clone(), |residual| (&hidden + residual).unwrap());
                let want = reference(&want_sum, &weight, &bias, 1e-5);
                let (got, got_sum) = add_layer_norm(&hidden, residual, &weight, &bias, 1e-5, None).unwrap();
                assert_close("normed", &want, &got, 3e-6);
                assert_close("residual", &want_sum, &got_sum, 0.0);
            }
        }
    }

    #[test]
    fn a_bias_of_another_width_is_refused() {
        let mut values = Values(15);
        let (hidden, weight) = (values.tensor(&[2, 4], 0.0, 1.0), values.tensor(&[4], 0.0, 1.0));
        let error =
            add_layer_norm(&hidden, None, &weight, &values.tensor(&[3], 0.0, 1.0), 1e-5, None).unwrap_err().to_string();
        assert_eq!(error, "add_layer_norm: bias has shape [3], expected [4]");
    }
}
