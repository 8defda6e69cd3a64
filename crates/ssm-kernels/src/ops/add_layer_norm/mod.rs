use candle_core::{Device, Tensor};

use super::add_norm;
use super::row_plan::RowPlan;
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

#[cfg(test)]
mod tests {
    use super::super::testing::Values;
    use super::*;

    #[test]
    fn a_bias_of_another_width_is_refused() {
        let mut values = Values(15);
        let (hidden, weight) = (values.tensor(&[2, 4], 0.0, 1.0), values.tensor(&[4], 0.0, 1.0));
        let error =
            add_layer_norm(&hidden, None, &weight, &values.tensor(&[3], 0.0, 1.0), 1e-5, None).unwrap_err().to_string();
        assert_eq!(error, "add_layer_norm: bias has shape [3], expected [4]");
    }
}
