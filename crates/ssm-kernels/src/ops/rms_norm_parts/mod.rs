#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::parallel::ROWS_PER_TASK;
use super::row_norm::rms_scale;
use crate::error::{KernelError, expect_shape, unsupported};
use crate::host::matrix;
use crate::math::vectorised;

const OP: &str = "rms_norm_parts";

/// Normalises parts of every row by themselves, without a weight: `y = x / sqrt(mean(x^2) + eps)` within each part.
///
/// Falcon-Mamba does so with dt, B and C where the projection leaves them.
///
/// # Shapes
/// - `x`: `[tokens, channels]`; result: the same
/// - `widths`: columns of each part, from the first on; together all channels
///
/// # Errors
/// Widths that are not those of `x`; dtypes or devices that do not fit.
pub fn rms_norm_parts(x: &Tensor, widths: &[usize], eps: f32) -> Result<Tensor, KernelError> {
    match x.device() {
        Device::Cpu => on_cpu(x, widths, eps),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::rms_norm_parts(x, widths, eps),
        other => Err(unsupported(OP, other, x.dtype())),
    }
}

fn on_cpu(x: &Tensor, widths: &[usize], eps: f32) -> Result<Tensor, KernelError> {
    let (xs, rows, channels) = matrix(x, OP, "x")?;
    expect_shape(OP, "x", &[rows, channels], &[rows, widths.iter().sum()])?;
    let mut out = vec![0.0; rows * channels];
    let block = (ROWS_PER_TASK * channels).max(1);
    out.par_chunks_mut(block).zip(xs.par_chunks(block)).for_each(|(out, x)| some_rows((x, widths, eps, out)));
    Ok(Tensor::from_vec(out, (rows, channels), x.device())?)
}

vectorised! {
    fn some_rows(task: (&[f32], &[usize], f32, &mut [f32])) {
        let (mut x, widths, eps, mut out) = task;
        while !x.is_empty() {
            for width in widths {
                let (part, x_rest) = x.split_at(*width);
                let (normed, out_rest) = out.split_at_mut(*width);
                let scale = rms_scale(part, eps);
                for (normed, x) in normed.iter_mut().zip(part) {
                    *normed = x * scale;
                }
                (x, out) = (x_rest, out_rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Values, bits};
    use super::*;

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let x = Values(22).tensor(&[70, 13], -4.0, 4.0);
        let whole = rms_norm_parts(&x, &[3, 5, 5], 1e-6).unwrap();
        for row in [0, 31, 32, 69] {
            let alone = rms_norm_parts(&x.narrow(0, row, 1).unwrap().contiguous().unwrap(), &[3, 5, 5], 1e-6).unwrap();
            assert_eq!(bits(&whole.narrow(0, row, 1).unwrap()), bits(&alone));
        }
    }

    #[test]
    fn widths_of_another_matrix_are_refused() {
        let error = rms_norm_parts(&Values(23).tensor(&[2, 13], -1.0, 1.0), &[3, 5, 4], 1e-6).unwrap_err();
        assert_eq!(error.to_string(), "rms_norm_parts: x has shape [2, 13], expected [2, 12]");
    }
}
