use candle_core::{DType, Tensor};

use super::OP;
use crate::cuda::{Arg, Gpu, Image, RowShape, image, is_wide, suffix};
use crate::error::{KernelError, expect_shape};
use crate::ops::row_plan::RowPlan;

static KERNELS: Image = image!("add_rms_norm");

pub(super) fn add_rms_norm(
    hidden: &Tensor,
    residual: Option<&Tensor>,
    weight: &Tensor,
    eps: f32,
    plan: Option<&RowPlan>,
) -> Result<(Tensor, Tensor), KernelError> {
    let gpu = Gpu::of(hidden, OP)?;
    let (rows_in, width) = hidden.dims2()?;
    expect_shape(OP, "weight", weight.dims(), &[width])?;
    if let Some(residual) = residual {
        expect_shape(OP, "residual", residual.dims(), &[rows_in, width])?;
    }
    if let Some(plan) = plan {
        plan.expect_rows(OP, rows_in)?;
    }
    let rows = plan.map_or(rows_in, RowPlan::rows_out);
    let normed = gpu.empty((rows, width), hidden.dtype())?;
    let sum = gpu.empty((rows, width), DType::F32)?;
    let residual = residual.map_or(Ok(Arg::NULL), |residual| gpu.float32(residual, OP, "residual"))?;
    let mut args = vec![
        gpu.contiguous(hidden, OP, "hidden")?,
        residual,
        gpu.float32(weight, OP, "weight")?,
        gpu.tensor(&normed)?,
        gpu.tensor(&sum)?,
        Arg::int(rows),
        Arg::int(width),
        Arg::Float(eps),
    ];
    let dtype = suffix(hidden.dtype(), OP)?;
    let fast = RowShape::in_registers(width).filter(|_| is_wide(&[width], &args));
    let (name, shape) = match (fast, plan) {
        (Some(shape), None) => (format!("add_rms_norm_v{}_{dtype}", shape.vectors), shape),
        (Some(shape), Some(_)) => (format!("add_rms_norm_plan_v{}_{dtype}", shape.vectors), shape),
        (None, _) => (format!("add_rms_norm_any_{dtype}"), RowShape::whole_block()),
    };
    match plan {
        Some(plan) => args.extend(plan.args(&gpu)?),
        None if fast.is_none() => args.extend([Arg::NULL; 7]),
        None => {}
    }
    gpu.launch(&KERNELS, &name, shape.grid(rows), &args)?;
    Ok((normed, sum))
}
