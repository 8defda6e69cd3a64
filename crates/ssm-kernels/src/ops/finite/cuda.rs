use candle_core::{Device, Tensor};

use super::{NONE, OP};
use crate::cuda::{Arg, Gpu, Image, RowShape, image, is_wide, rows_of, suffix};
use crate::error::KernelError;
use crate::segments::Segments;

static KERNELS: Image = image!("finite");

pub(super) fn look(x: &Tensor, segments: &Segments) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(x, OP)?;
    let (rows, width, ld) = rows_of(x, OP, "x")?;
    let device = Device::Cuda(gpu.device().clone());
    let first = Tensor::from_vec(vec![NONE; segments.len()], segments.len(), &device)?;
    let args = [
        gpu.tensor(x)?,
        Arg::long(ld),
        Arg::int(rows),
        Arg::int(width),
        gpu.address(&segments.on_device(&gpu)?.offsets),
        Arg::int(segments.len()),
        gpu.tensor(&first)?,
    ];
    let wide = is_wide(&[width, ld], &args[..1]);
    let name = format!("finite_{}{}", if wide { "" } else { "any_" }, suffix(x.dtype(), OP)?);
    gpu.launch(&KERNELS, &name, RowShape::striding(width, wide).grid(rows), &args)?;
    Ok(first)
}
