use candle_core::Tensor;

use super::OP;
use crate::cuda::{Arg, Gpu, Image, RowShape, image, rows_of, suffix};
use crate::error::{KernelError, expect_shape};

static KERNELS: Image = image!("rms_norm_parts");

/// A launch a part: there are few, and they are narrow.
pub(super) fn rms_norm_parts(x: &Tensor, widths: &[usize], eps: f32) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(x, OP)?;
    let (rows, channels) = x.dims2()?;
    expect_shape(OP, "x", &[rows, channels], &[rows, widths.iter().sum()])?;
    gpu.contiguous(x, OP, "x")?;
    let out = gpu.empty((rows, channels), x.dtype())?;
    let name = format!("rms_norm_parts_{}", suffix(x.dtype(), OP)?);
    let mut start = 0;
    for width in widths {
        let (part, normed) = (x.narrow(1, start, *width)?, out.narrow(1, start, *width)?);
        let (_, _, ld) = rows_of(&part, OP, "x")?;
        let args = [
            gpu.tensor(&part)?,
            gpu.tensor(&normed)?,
            Arg::long(ld),
            Arg::int(rows),
            Arg::int(*width),
            Arg::Float(eps),
        ];
        gpu.launch(&KERNELS, &name, RowShape::warp().grid(rows), &args)?;
        start += width;
    }
    Ok(out)
}
