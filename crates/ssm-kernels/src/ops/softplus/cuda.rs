use candle_core::{DType, Tensor};

use super::OP;
use crate::cuda::{Arg, Gpu, Image, RowShape, image, is_wide, rows_of, suffix};
use crate::error::KernelError;

static KERNELS: Image = image!("softplus");

pub(super) fn softplus(
    projected: &Tensor,
    start: usize,
    bias: &Tensor,
    limit: (f32, f32),
) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(projected, OP)?;
    let width = bias.dim(0)?;
    let raw = projected.narrow(1, start, width)?;
    let (rows, _, ld) = rows_of(&raw, OP, "projected")?;
    let out = gpu.empty((rows, width), DType::F32)?;
    let args = [
        gpu.tensor(&raw)?,
        Arg::long(ld),
        gpu.float32(bias, OP, "bias")?,
        Arg::Float(limit.0),
        Arg::Float(limit.1),
        gpu.tensor(&out)?,
        Arg::int(rows),
        Arg::int(width),
    ];
    let wide = is_wide(&[width, ld], &args);
    let name = format!("softplus_{}{}", if wide { "" } else { "any_" }, suffix(projected.dtype(), OP)?);
    gpu.launch(&KERNELS, &name, RowShape::striding(width, wide).grid(rows), &args)?;
    Ok(out)
}
