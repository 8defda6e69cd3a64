use candle_core::{DType, Tensor};

use crate::cuda::{Arg, Gpu, Image, RowShape, is_wide, suffix};
use crate::error::{KernelError, expect_shape};
use crate::ops::row_plan::RowPlan;

/// Runs the kernels of a norm, which are named after the operation and take their parameters in one order; a bias stands
/// behind those of the norm where it has one.
#[allow(clippy::too_many_arguments)] // Those of the operation, and its kernels.
pub(in crate::ops) fn on_gpu(
    kernels: &'static Image,
    op: &'static str,
    hidden: &Tensor,
    residual: Option<&Tensor>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f32,
    plan: Option<&RowPlan>,
) -> Result<(Tensor, Tensor), KernelError> {
    let gpu = Gpu::of(hidden, op)?;
    let (rows_in, width) = hidden.dims2()?;
    expect_shape(op, "weight", weight.dims(), &[width])?;
    if let Some(residual) = residual {
        expect_shape(op, "residual", residual.dims(), &[rows_in, width])?;
    }
    if let Some(plan) = plan {
        plan.expect_rows(op, rows_in)?;
    }
    let rows = plan.map_or(rows_in, RowPlan::rows_out);
    let normed = gpu.empty((rows, width), hidden.dtype())?;
    let sum = gpu.empty((rows, width), DType::F32)?;
    let residual = residual.map_or(Ok(Arg::NULL), |residual| gpu.float32(residual, op, "residual"))?;
    let mut args = vec![
        gpu.contiguous(hidden, op, "hidden")?,
        residual,
        gpu.float32(weight, op, "weight")?,
        gpu.tensor(&normed)?,
        gpu.tensor(&sum)?,
        Arg::int(rows),
        Arg::int(width),
        Arg::Float(eps),
    ];
    if let Some(bias) = bias {
        expect_shape(op, "bias", bias.dims(), &[width])?;
        args.push(gpu.float32(bias, op, "bias")?);
    }
    let dtype = suffix(hidden.dtype(), op)?;
    let fast = RowShape::in_registers(width).filter(|_| is_wide(&[width], &args));
    let (name, shape) = match (fast, plan) {
        (Some(shape), None) => (format!("{op}_v{}_{dtype}", shape.vectors), shape),
        (Some(shape), Some(_)) => (format!("{op}_plan_v{}_{dtype}", shape.vectors), shape),
        (None, _) => (format!("{op}_any_{dtype}"), RowShape::whole_block()),
    };
    match plan {
        Some(plan) => args.extend(plan.args(&gpu)?),
        None if fast.is_none() => args.extend([Arg::NULL; 7]),
        None => {}
    }
    gpu.launch(kernels, &name, shape.grid(rows), &args)?;
    Ok((normed, sum))
}
