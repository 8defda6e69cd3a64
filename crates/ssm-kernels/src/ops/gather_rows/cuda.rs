use candle_core::Tensor;

use crate::cuda::{Arg, Gpu, Image, RowShape, image, is_wide, suffix};
use crate::error::KernelError;

static KERNELS: Image = image!("gather");

const OP: &str = "gather_rows";

pub(super) fn gather_rows(x: &Tensor, indices: &[u32]) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(x, OP)?;
    let ids = gpu.upload(indices)?;
    gather(&gpu, "gather", x, gpu.address(&ids), indices.len())
}

/// Rows whose indices lie on the GPU and were checked.
pub(super) fn chosen_rows(x: &Tensor, indices: &Tensor) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(x, OP)?;
    gather(&gpu, "choose", x, gpu.tensor(indices)?, indices.elem_count())
}

/// `kernel`: `gather`, or `choose` where a reduction keeps the rows, which profiles tell apart.
fn gather(gpu: &Gpu, kernel: &str, x: &Tensor, ids: Arg, rows: usize) -> Result<Tensor, KernelError> {
    let (_, width) = x.dims2()?;
    let out = gpu.empty((rows, width), x.dtype())?;
    let args = [gpu.contiguous(x, OP, "x")?, ids, gpu.tensor(&out)?, Arg::int(rows), Arg::int(width)];
    let wide = is_wide(&[width], &[args[0], args[2]]);
    let name = format!("{kernel}_{}{}", if wide { "" } else { "any_" }, suffix(x.dtype(), OP)?);
    gpu.launch(&KERNELS, &name, RowShape::striding(width, wide).grid(rows), &args)?;
    Ok(out)
}
