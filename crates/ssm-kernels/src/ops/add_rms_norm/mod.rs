use candle_core::{Device, Tensor};

use super::add_norm;
use super::row_plan::RowPlan;
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
