#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::parallel::ROWS_PER_TASK;
use crate::error::{KernelError, unsupported};
use crate::host::matrix;
use crate::math::{erf, tanh, vectorised};

const OP: &str = "gelu";

/// Which GELU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x / 2 * (1 + erf(x / sqrt(2)))`: `gelu` of transformers.
    Exact,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`: `gelu_new` and `gelu_fast` of transformers.
    Tanh,
}

/// Gaussian error linear unit (<https://arxiv.org/abs/1606.08415>), value by value.
///
/// # Shapes
/// - `x`: `[tokens, channels]`; result: the same, of the dtype of `x`
///
/// # Errors
/// Dtypes or devices that do not fit.
pub fn gelu(x: &Tensor, kind: Gelu) -> Result<Tensor, KernelError> {
    match x.device() {
        Device::Cpu => on_cpu(x, kind),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::gelu(x, kind),
        other => Err(unsupported(OP, other, x.dtype())),
    }
}

fn on_cpu(x: &Tensor, kind: Gelu) -> Result<Tensor, KernelError> {
    let (xs, rows, width) = matrix(x, OP, "x")?;
    let mut out = vec![0.0; rows * width];
    let block = (ROWS_PER_TASK * width).max(1);
    out.par_chunks_mut(block).zip(xs.par_chunks(block)).for_each(|(out, x)| some_values((x, kind, out)));
    Ok(Tensor::from_vec(out, (rows, width), x.device())?)
}

vectorised! {
    fn some_values(task: (&[f32], Gelu, &mut [f32])) {
        let (x, kind, out) = task;
        match kind {
            Gelu::Exact => {
                for (out, x) in out.iter_mut().zip(x) {
                    *out = 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
                }
            }
            Gelu::Tanh => {
                for (out, x) in out.iter_mut().zip(x) {
                    // sqrt(2 / pi)
                    *out = 0.5 * x * (1.0 + tanh(0.797_884_6 * (0.044_715 * x * x).mul_add(*x, *x)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Values, assert_close};
    use super::*;

    /// The two formulas, evaluated in float64 by Python's `math`.
    #[test]
    fn equals_values_of_others() {
        let x = Tensor::new(&[[-3.0_f32, -1.0, -0.1, 0.0, 0.5, 1.0, 2.5, 6.0]], &Device::Cpu).unwrap();
        let exact = [-0.004_049_694, -0.158_655_25, -0.046_017_216, 0.0, 0.345_731_23, 0.841_344_75, 2.484_475_8, 6.0];
        let tanh = [-0.003_637_392, -0.158_808_01, -0.046_017_249, 0.0, 0.345_714_01, 0.841_191_99, 2.484_915_7, 6.0];
        for (kind, want) in [(Gelu::Exact, exact), (Gelu::Tanh, tanh)] {
            let want = Tensor::new(&[want], &Device::Cpu).unwrap().to_dtype(candle_core::DType::F32).unwrap();
            assert_close("gelu", &want, &gelu(&x, kind).unwrap(), 1e-6 / 6.0);
        }
    }

    #[test]
    fn a_value_does_not_depend_on_its_neighbours() {
        let x = Values(17).tensor(&[70, 13], -4.0, 4.0);
        for kind in [Gelu::Exact, Gelu::Tanh] {
            let whole = gelu(&x, kind).unwrap().to_vec2::<f32>().unwrap();
            for (row, want) in whole.iter().enumerate() {
                let got = gelu(&x.narrow(0, row, 1).unwrap().contiguous().unwrap(), kind).unwrap();
                assert_eq!(&got.to_vec2::<f32>().unwrap()[0], want);
            }
        }
    }
}
