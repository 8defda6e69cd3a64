//! What algorithms of a product are tried on: the kernels of `trial.cu`.
//!
//! candle's operations could do this, but the driver compiles theirs where a machine runs them for the first time: 11 s.

use candle_core::cuda_backend::CudaDevice;
use candle_core::{DType, Device, Tensor};

use crate::cuda::{Arg, Gpu, Grid, Image, image, suffix};
use crate::error::KernelError;

static KERNELS: Image = image!("trial");

const OP: &str = "linear";
/// Threads stride over the elements.
const GRID: Grid = Grid { blocks: (1056, 1, 1), threads: (256, 1), shared: 0 };

/// `[rows, k]` of numbers in -1..1: the second half of every row is the first one times `sign`. Other seeds give other numbers.
///
/// # Errors
/// A dtype without kernel, or an error of the device.
pub fn cancelling(
    device: &CudaDevice,
    (rows, k): (usize, usize),
    dtype: DType,
    sign: f32,
    seed: usize,
) -> Result<Tensor, KernelError> {
    let gpu = Gpu::on(device);
    let out = gpu.empty((rows, k), dtype)?;
    let args = [gpu.tensor(&out)?, Arg::long(rows), Arg::int(k), Arg::Float(sign), Arg::int(seed)];
    gpu.launch(&KERNELS, &format!("cancelling_{}", suffix(dtype, OP)?), GRID, &args)?;
    Ok(out)
}

/// Whether two tensors of one shape and dtype hold the same bits. Waits for the GPU.
///
/// # Errors
/// A dtype without kernel, or an error of the device.
pub fn have_the_same_bits(a: &Tensor, b: &Tensor) -> Result<bool, KernelError> {
    let gpu = Gpu::of(a, OP)?;
    let found = Tensor::from_vec(vec![0_u32], 1, &Device::Cuda(gpu.device().clone()))?;
    let args = [gpu.tensor(a)?, gpu.tensor(b)?, Arg::long(a.elem_count()), gpu.tensor(&found)?];
    gpu.launch(&KERNELS, &format!("differing_{}", suffix(a.dtype(), OP)?), GRID, &args)?;
    Ok(found.to_vec1::<u32>()? == [0])
}
