#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::parallel::ROWS_PER_TASK;
use crate::error::{KernelError, expect_shape, unsupported};
use crate::host::{F32View, matrix};
use crate::math::{self, vectorised};

const OP: &str = "softplus";

/// Step sizes from their raw values: `dt = clamp(softplus(raw + bias), limit)`.
///
/// The raw values are read in place from `projected[:, start..start + width]`, where `width` is the bias's length.
///
/// # Shapes
/// - `projected`: `[tokens, any]`; `bias`: `[width]`; result: `[tokens, width]`, float32
///
/// # Errors
/// Shapes, dtypes or devices that do not fit.
pub fn softplus(projected: &Tensor, start: usize, bias: &Tensor, limit: (f32, f32)) -> Result<Tensor, KernelError> {
    match projected.device() {
        Device::Cpu => on_cpu(projected, start, bias, limit),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::softplus(projected, start, bias, limit),
        other => Err(unsupported(OP, other, projected.dtype())),
    }
}

fn on_cpu(projected: &Tensor, start: usize, bias: &Tensor, limit: (f32, f32)) -> Result<Tensor, KernelError> {
    let (raw, rows, stride) = matrix(projected, OP, "projected")?;
    let width = bias.dim(0)?;
    if start + width > stride {
        expect_shape(OP, "projected", projected.dims(), &[rows, start + width])?;
    }
    let bias = F32View::new(bias, OP, "bias")?;
    let (raw, bias) = (&*raw, &*bias);
    let mut out = vec![0.0; rows * width];
    out.par_chunks_mut(ROWS_PER_TASK * width).enumerate().for_each(|(index, out)| {
        let raw = &raw[index * ROWS_PER_TASK * stride + start..];
        some_rows((raw, stride, bias, limit, out));
    });
    Ok(Tensor::from_vec(out, (rows, width), projected.device())?)
}

/// Raw values from the first one on, their stride, the bias, the limit, and where results go.
type Rows<'a> = (&'a [f32], usize, &'a [f32], (f32, f32), &'a mut [f32]);

vectorised! {
    fn some_rows(rows: Rows<'_>) {
        let (raw, stride, bias, limit, out) = rows;
        let width = bias.len();
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            for ((out, raw), bias) in out.iter_mut().zip(&raw[row * stride..][..width]).zip(bias) {
                *out = within(math::softplus(raw + bias), limit);
            }
        }
    }
}

/// `value` within bounds; NaN stays NaN, which the minimum and maximum of two numbers would replace by a bound.
#[inline(always)]
fn within(value: f32, (low, high): (f32, f32)) -> f32 {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One value that is no number used to become a step size of 20 or a bound.
    #[test]
    fn nan_in_either_input_stays_nan() {
        let projected = Tensor::new(&[[f32::NAN, 0.0, -f32::NAN, f32::INFINITY]], &Device::Cpu).unwrap();
        let bias = Tensor::new(&[0.0, f32::NAN, 0.0, 0.0_f32], &Device::Cpu).unwrap();
        for limit in [(0.0, f32::INFINITY), (0.001, 25.0)] {
            let dt = softplus(&projected, 0, &bias, limit).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(dt[..3].iter().all(|dt| dt.is_nan()), "{limit:?}: {dt:?}");
            assert_eq!(dt[3].to_bits(), limit.1.to_bits());
        }
    }
}
