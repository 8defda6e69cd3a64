#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{ROWS_PER_TASK, RowPlan};
use crate::error::{KernelError, expect_shape, unsupported};
use crate::host::{F32View, matrix};
use crate::math::vectorised;

const OP: &str = "add_rms_norm";

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
        Device::Cpu => match rows {
            None => on_cpu(hidden, residual, weight, eps),
            Some(rows) => {
                let residual = residual.map(|residual| rows.apply(residual, &rows.residual)).transpose()?;
                on_cpu(&rows.apply(hidden, &rows.hidden)?, residual.as_ref(), weight, eps)
            }
        },
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::add_rms_norm(hidden, residual, weight, eps, rows),
        other => Err(unsupported(OP, other, hidden.dtype())),
    }
}

fn on_cpu(
    hidden: &Tensor,
    residual: Option<&Tensor>,
    weight: &Tensor,
    eps: f32,
) -> Result<(Tensor, Tensor), KernelError> {
    let (hs, rows, width) = matrix(hidden, OP, "hidden")?;
    expect_shape(OP, "weight", weight.dims(), &[width])?;
    let weight = F32View::new(weight, OP, "weight")?;
    let mut sum = vec![0.0; rows * width];
    let mut normed = vec![0.0; rows * width];
    let residual = match residual {
        Some(residual) => {
            expect_shape(OP, "residual", residual.dims(), &[rows, width])?;
            Some(F32View::new(residual, OP, "residual")?)
        }
        None => None,
    };
    let (hs, residual, weight) = (&*hs, residual.as_deref(), &*weight);
    let block = ROWS_PER_TASK * width;
    sum.par_chunks_mut(block).zip(normed.par_chunks_mut(block)).enumerate().for_each(|(index, (sum, normed))| {
        let (first, last) = (index * block, index * block + sum.len());
        let residual = residual.map(|residual| &residual[first..last]);
        some_rows((&hs[first..last], residual, weight, eps, sum, normed));
    });
    let device = hidden.device();
    Ok((Tensor::from_vec(normed, (rows, width), device)?, Tensor::from_vec(sum, (rows, width), device)?))
}

/// Some rows of hidden, residual, sum and normed sum.
type Rows<'a> = (&'a [f32], Option<&'a [f32]>, &'a [f32], f32, &'a mut [f32], &'a mut [f32]);

vectorised! {
    fn some_rows(rows: Rows<'_>) {
        let (hidden, residual, weight, eps, sum, normed) = rows;
        let width = weight.len();
        match residual {
            Some(residual) => add(hidden, residual, sum),
            None => sum.copy_from_slice(hidden),
        }
        for (sum, normed) in sum.chunks_exact(width).zip(normed.chunks_exact_mut(width)) {
            normalise(sum, weight, eps, normed);
        }
    }
}

#[inline(always)]
fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a + b;
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
    1.0 / (sum_of_squares(x) / x.len() as f32 + eps).sqrt()
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
