use candle_core::Tensor;

use super::{Gelu, OP};
use crate::cuda::{Arg, Gpu, Image, RowShape, image, is_wide, suffix};
use crate::error::KernelError;

static KERNELS: Image = image!("gelu");

pub(super) fn gelu(x: &Tensor, kind: Gelu) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(x, OP)?;
    let (rows, width) = x.dims2()?;
    let out = gpu.empty((rows, width), x.dtype())?;
    let args = [gpu.contiguous(x, OP, "x")?, gpu.tensor(&out)?, Arg::int(rows), Arg::int(width)];
    let wide = is_wide(&[width], &args);
    let kind = match kind {
        Gelu::Exact => "exact",
        Gelu::Tanh => "tanh",
    };
    let name = format!("gelu_{kind}_{}{}", if wide { "" } else { "any_" }, suffix(x.dtype(), OP)?);
    gpu.launch(&KERNELS, &name, RowShape::striding(width, wide).grid(rows), &args)?;
    Ok(out)
}
