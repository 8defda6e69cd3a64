//! The bias of a linear layer on the GPU: added to a product that was not rounded yet.

use candle_core::{DType, Tensor};

use super::cuda;
use crate::cuda::{Arg, Gpu, Image, RowShape, image, is_wide, suffix};
use crate::error::{KernelError, expect_shape};

static KERNELS: Image = image!("add_bias");

pub(super) fn linear_with_bias(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor, KernelError> {
    const OP: &str = "linear_with_bias";
    let gpu = Gpu::of(x, OP)?;
    let product = cuda::linear(x, weight, DType::F32)?;
    let (rows, n) = product.dims2()?;
    expect_shape(OP, "bias", bias.dims(), &[n])?;
    let out = match x.dtype() {
        DType::F32 => product.clone(),
        dtype => gpu.empty((rows, n), dtype)?,
    };
    let args = [gpu.tensor(&product)?, gpu.float32(bias, OP, "bias")?, gpu.tensor(&out)?, Arg::int(rows), Arg::int(n)];
    let wide = is_wide(&[n], &args);
    let name = format!("add_bias_{}{}", if wide { "" } else { "any_" }, suffix(x.dtype(), OP)?);
    gpu.launch(&KERNELS, &name, RowShape::striding(n, wide).grid(rows), &args)?;
    Ok(out)
}
