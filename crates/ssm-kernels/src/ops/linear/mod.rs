#[cfg(feature = "cuda")]
mod bias;
#[cfg(any(feature = "cuda", test))]
mod choice;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
pub mod trial;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::parallel::ROWS_PER_TASK;
use crate::error::{KernelError, expect_shape, unsupported};
use crate::host::{F32View, matrix};
use crate::math::vectorised;

const OP: &str = "linear";

/// Fewest rows that a product runs with; fewer are padded with zero rows.
///
/// The GEMM library sums a row in blocks of `k` whose size depends on `k` alone, save for three short cuts: very few rows,
/// products of at most 64 by 64, and results of at most 256 values. With the padding none is taken for one number of rows and
/// not for another, so the bits of a row do not depend on how many rows stand beside it.
fn min_rows(k: usize, n: usize) -> usize {
    let rows = if n <= 64 && k > 512 { 65 } else { 16 };
    rows.max(256 / n.max(1) + 1)
}

/// `y = x W^T`: a linear layer without bias.
///
/// The bits of each row of `y` depend on that row of `x` alone, so a sequence gives the same values alone and packed.
///
/// # Shapes
/// - `x`: `[tokens, k]`; a view of some columns of a wider matrix will do
/// - `weight`: `[n, k]`, as checkpoints store it, of the dtype of `x`
/// - result: `[tokens, n]`, of the dtype of `x`
///
/// # Errors
/// Shapes, dtypes or devices that do not fit.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor, KernelError> {
    linear_as(x, weight, x.dtype())
}

/// `y = x W^T + b`: a linear layer with bias. The bias is added to the finished product in
/// float32, and the sum rounded once.
///
/// # Shapes
/// As [`linear`]; `bias`: `[n]`, float32
///
/// # Errors
/// As [`linear`].
pub fn linear_with_bias(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor, KernelError> {
    match x.device() {
        Device::Cpu => on_cpu(&x.contiguous()?, weight, Some(bias)),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => bias::linear_with_bias(x, weight, bias),
        other => Err(unsupported("linear_with_bias", other, x.dtype())),
    }
}

/// As [`linear`] with a result of this dtype, rounded once: float32 for logits that become scores. The CPU knows float32
/// alone.
///
/// # Errors
/// As [`linear`].
pub fn linear_as(x: &Tensor, weight: &Tensor, dtype: DType) -> Result<Tensor, KernelError> {
    match x.device() {
        Device::Cpu => on_cpu(&x.contiguous()?, weight, None),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::linear(x, weight, dtype),
        other => Err(unsupported(OP, other, dtype)),
    }
}

fn on_cpu(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, KernelError> {
    let (xs, rows, k) = matrix(x, OP, "x")?;
    let n = weight.dim(0)?;
    expect_shape(OP, "weight", weight.dims(), &[n, k])?;
    let ws = F32View::new(weight, OP, "weight")?;
    let min_rows = min_rows(k, n);
    let mut out = if rows >= min_rows {
        let mut out = vec![0.0; rows * n];
        product(&xs, &ws, &mut out, k, n);
        out
    } else {
        let mut padded = vec![0.0; min_rows * k];
        padded[..rows * k].copy_from_slice(&xs);
        let mut out = vec![0.0; min_rows * n];
        product(&padded, &ws, &mut out, k, n);
        out
    };
    out.truncate(rows * n);
    if let Some(bias) = bias {
        expect_shape(OP, "bias", bias.dims(), &[n])?;
        let bias = F32View::new(bias, OP, "bias")?;
        let bias = &*bias;
        out.par_chunks_mut(ROWS_PER_TASK * n).for_each(|out| add_to_rows((out, bias)));
    }
    Ok(Tensor::from_vec(out, (rows, n), x.device())?)
}

vectorised! {
    /// Adds a vector to every row.
    fn add_to_rows(task: (&mut [f32], &[f32])) {
        let (rows, bias) = task;
        for row in rows.chunks_exact_mut(bias.len()) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
        }
    }
}

/// `out[m, n] = x[m, k] w[n, k]^T`, all row-major.
fn product(x: &[f32], w: &[f32], out: &mut [f32], k: usize, n: usize) {
    let m = out.len() / n;
    assert!(x.len() == m * k && w.len() == n * k && out.len() == m * n, "sizes of a product");
    let threads = rayon::current_num_threads();
    let parallelism = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    // SAFETY: the three slices have the sizes that the strides below reach (asserted), and `out` is borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n.cast_signed(),
            false,
            x.as_ptr(),
            1,
            k.cast_signed(),
            w.as_ptr(),
            k.cast_signed(),
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Values, bits};
    use super::*;

    #[test]
    fn a_bias_is_added_to_every_row() {
        let mut values = Values(16);
        for (m, k, n) in [(1, 3, 5), (70, 33, 17)] {
            let (x, w) = (values.tensor(&[m, k], -1.0, 1.0), values.tensor(&[n, k], -1.0, 1.0));
            let bias = values.tensor(&[n], -1.0, 1.0);
            let want = linear(&x, &w).unwrap().broadcast_add(&bias).unwrap();
            assert!(bits(&want) == bits(&linear_with_bias(&x, &w, &bias).unwrap()));
        }
        let (x, w) = (values.tensor(&[2, 3], 0.0, 1.0), values.tensor(&[4, 3], 0.0, 1.0));
        let error = linear_with_bias(&x, &w, &values.tensor(&[3], 0.0, 1.0)).unwrap_err();
        assert_eq!(error.to_string(), "linear: bias has shape [3], expected [4]");
    }

    #[test]
    fn a_row_has_the_same_bits_beside_any_other_rows() {
        let mut values = Values(2);
        for (k, n) in [
            (128, 648),
            (256, 128),
            (64, 1104),
            (8, 256),
            (700, 40),
            (2000, 300),
            (1100, 64),
            (48, 13),
            (3, 16),
            (2, 5),
            (20, 1),
        ] {
            let x = values.tensor(&[500, k], -1.0, 1.0);
            let w = values.tensor(&[n, k], -1.0, 1.0);
            let whole = linear(&x, &w).unwrap();
            for (start, len) in
                [(0, 1), (499, 1), (3, 2), (10, 15), (17, 16), (20, 17), (100, 63), (1, 255), (200, 300)]
            {
                let part = linear(&x.narrow(0, start, len).unwrap(), &w).unwrap();
                assert!(bits(&part) == bits(&whole.narrow(0, start, len).unwrap()), "k {k} n {n}: rows {start}+{len}");
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let mut values = Values(3);
        let error = linear(&values.tensor(&[2, 3], 0.0, 1.0), &values.tensor(&[4, 5], 0.0, 1.0)).unwrap_err();
        assert_eq!(error.to_string(), "linear: weight has shape [4, 5], expected [4, 3]");
    }
}
