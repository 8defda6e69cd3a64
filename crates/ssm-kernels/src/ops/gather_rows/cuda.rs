use candle_core::Tensor;

use crate::cuda::{Arg, Gpu, Image, RowShape, image, is_wide, suffix};
use crate::error::KernelError;

static KERNELS: Image = image!("gather");

pub(super) fn gather_rows(x: &Tensor, indices: &[u32]) -> Result<Tensor, KernelError> {
    const OP: &str = "gather_rows";
    let gpu = Gpu::of(x, OP)?;
    let (_, width) = x.dims2()?;
    let out = gpu.empty((indices.len(), width), x.dtype())?;
    let ids = gpu.upload(indices)?;
    let args =
        [gpu.contiguous(x, OP, "x")?, gpu.address(&ids), gpu.tensor(&out)?, Arg::int(indices.len()), Arg::int(width)];
    let wide = is_wide(&[width], &[args[0], args[2]]);
    let name = format!("gather_{}{}", if wide { "" } else { "any_" }, suffix(x.dtype(), OP)?);
    gpu.launch(&KERNELS, &name, RowShape::striding(width, wide).grid(indices.len()), &args)?;
    Ok(out)
}
