//! How long a row lasts for the recurrence. With it a driver lets one row represent several tokens, or a part of one.

use candle_core::{DType, Tensor};
use ssm_kernels::KernelError;

use crate::error::ModelError;

/// Factors on the step size of one row, one for each of its two roles.
///
/// A step size both forgets and writes: `h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t`. With factors the scan computes
/// `h_t = exp(decay dt_t A) h_{t-1} + write dt_t B_t x_t`; convolution, skip and gate do not change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowTime {
    /// Factor in the exponential: of a row that represents two tokens of equal steps, 2.
    pub decay: f32,
    /// Factor of what is written.
    pub write: f32,
}

impl RowTime {
    /// An ordinary token.
    pub const ONE: Self = Self { decay: 1.0, write: 1.0 };

    /// Whether the scan can compute with it: both factors finite and positive.
    #[must_use]
    pub fn is_valid(self) -> bool {
        [self.decay, self.write].into_iter().all(|factor| factor.is_finite() && factor > 0.0)
    }
}

/// The factors of all rows of a stream.
#[derive(Clone, Copy, Debug)]
pub enum Times<'a> {
    /// One per row, in host memory.
    Host(&'a [RowTime]),
    /// `[tokens, 2]`, float32, where the model is: the decay and the write of each row, as [`RowTime`] has them. They are not read back:
    /// whoever made them answers for factors that are finite and positive.
    Device(&'a Tensor),
}

/// The factors of a stream as columns that multiply rows.
pub(crate) struct RowTimes {
    /// `[tokens, 1]`, on step sizes.
    pub(crate) decay: Tensor,
    /// `[tokens, 1]`, on B, which only what is written reads: `write / decay`.
    input_map: Tensor,
}

impl RowTimes {
    /// Refuses another number of factors than rows, and in host memory factors that are not finite and positive.
    pub(crate) fn new(times: Times<'_>, like: &Tensor) -> Result<Self, ModelError> {
        let rows = like.dim(0)?;
        let times = match times {
            Times::Host(times) => times,
            Times::Device(times) => {
                if times.dims() != [rows, 2] {
                    return Err(KernelError::Shape {
                        op: "layer",
                        tensor: "time",
                        expected: format!("[{rows}, 2]"),
                        got: times.dims().to_vec(),
                    }
                    .into());
                }
                if times.dtype() != DType::F32 {
                    let got = times.dtype().as_str().to_owned();
                    return Err(KernelError::Storage { op: "layer", tensor: "time", expected: "float32", got }.into());
                }
                let (decay, write) = (times.narrow(1, 0, 1)?.contiguous()?, times.narrow(1, 1, 1)?);
                let input_map = (write.contiguous()? / &decay)?;
                return Ok(Self { decay, input_map });
            }
        };
        if times.len() != rows || !times.iter().all(|time| time.is_valid()) {
            return Err(ModelError::Time { got: times.len(), rows });
        }
        let column = |factor: fn(&RowTime) -> f32| {
            let values: Vec<f32> = times.iter().map(factor).collect();
            Tensor::from_vec(values, (rows, 1), like.device()).map_err(KernelError::from)
        };
        Ok(Self { decay: column(|time| time.decay)?, input_map: column(|time| time.write / time.decay)? })
    }

    /// `x` with the columns of B, `start..start + width`, multiplied.
    pub(crate) fn on_input_map(&self, x: &Tensor, start: usize, width: usize) -> Result<Tensor, ModelError> {
        let end = start + width;
        let b = x.narrow(1, start, width)?;
        let b = b.broadcast_mul(&self.input_map.to_dtype(x.dtype())?)?;
        Ok(Tensor::cat(&[x.narrow(1, 0, start)?, b, x.narrow(1, end, x.dim(1)? - end)?], 1)?)
    }
}
