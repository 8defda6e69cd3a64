//! Borrowed float32 views of tensors in host memory.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Device, Shape, Storage, Tensor, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::error::KernelError;

/// A contiguous float32 tensor in host memory, borrowed as a slice without a copy.
pub struct F32View<'a> {
    /// The tensor library's read guard, whose type is its own business.
    storage: Box<dyn Deref<Target = Storage> + 'a>,
    range: Range<usize>,
}

impl<'a> F32View<'a> {
    /// Borrows `tensor`; `op` and `name` appear in the error.
    ///
    /// # Errors
    /// A tensor that is not float32, not contiguous or not in host memory.
    pub fn new(tensor: &'a Tensor, op: &'static str, name: &'static str) -> Result<Self, KernelError> {
        let refuse = || KernelError::Storage {
            op,
            tensor: name,
            expected: "a contiguous float32 tensor on the CPU",
            got: format!("{:?} {:?} on {:?}", tensor.dtype(), tensor.shape(), tensor.device().location()),
        };
        let (storage, layout) = tensor.storage_and_layout();
        let (start, end) = layout.contiguous_offsets().ok_or_else(refuse)?;
        match &*storage {
            Storage::Cpu(CpuStorage::F32(_)) => Ok(Self { storage: Box::new(storage), range: start..end }),
            _ => Err(refuse()),
        }
    }
}

impl Deref for F32View<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &**self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => unreachable!("checked in `new`"),
        }
    }
}

/// The tensor in host memory, contiguous and float32; the same tensor if it is that already.
///
/// # Errors
/// Of the tensor library, or of the device it comes from.
pub fn copy(tensor: &Tensor) -> Result<Tensor, KernelError> {
    let tensor = tensor.contiguous()?;
    #[cfg(feature = "cuda")]
    if tensor.device().is_cuda() && matches!(tensor.dtype(), DType::F32 | DType::BF16) {
        return crate::cuda::download(&tensor);
    }
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
}

/// A contiguous tensor in host memory in another dtype, as [`Tensor::to_dtype`] gives it, on all threads: weights of billions of values
/// are rounded while a model is loaded.
///
/// # Errors
/// Of the tensor library.
pub fn cast(tensor: &Tensor, dtype: DType) -> Result<Tensor, KernelError> {
    let shape = tensor.shape().clone();
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        drop(storage);
        return Ok(tensor.to_dtype(dtype)?);
    };
    match (&*storage, dtype) {
        (Storage::Cpu(CpuStorage::F32(values)), DType::BF16) => each(&values[start..end], shape, bf16::from_f32),
        (Storage::Cpu(CpuStorage::BF16(values)), DType::F32) => each(&values[start..end], shape, bf16::to_f32),
        (Storage::Cpu(CpuStorage::F16(values)), DType::F32) => each(&values[start..end], shape, f16::to_f32),
        _ => {
            // The tensor library takes the lock again.
            drop(storage);
            Ok(tensor.to_dtype(dtype)?)
        }
    }
}

fn each<T: Copy + Sync, U: WithDType>(
    values: &[T],
    shape: Shape,
    cast: impl Fn(T) -> U + Sync + Send,
) -> Result<Tensor, KernelError> {
    let values: Vec<U> = values.par_iter().map(|value| cast(*value)).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Several contiguous tensors of 4-byte values of one GPU, in one wait for it: the words that they are made of.
///
/// # Errors
/// Tensors of another dtype, or an error of the device.
#[cfg(feature = "cuda")]
pub fn words(tensors: &[&Tensor]) -> Result<Vec<Vec<u32>>, KernelError> {
    crate::cuda::words(tensors)
}

/// Borrows a matrix `[rows, columns]` and its shape.
///
/// # Errors
/// As [`F32View::new`], or a tensor that is not of rank 2.
pub fn matrix<'a>(
    tensor: &'a Tensor,
    op: &'static str,
    name: &'static str,
) -> Result<(F32View<'a>, usize, usize), KernelError> {
    let (rows, columns) = tensor.dims2().map_err(|_| KernelError::Shape {
        op,
        tensor: name,
        expected: "[rows, columns]".to_owned(),
        got: tensor.dims().to_vec(),
    })?;
    Ok((F32View::new(tensor, op, name)?, rows, columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_on_all_threads_is_that_of_the_tensor_library() {
        let mut values: Vec<f32> = (0..70_001_u32).map(|n| f32::from_bits(n.wrapping_mul(0x9E37_79B9))).collect();
        values.extend([0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE / 3.0]);
        let bits = |tensor: &Tensor| -> Vec<u32> {
            let wide = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            wide.into_iter().map(f32::to_bits).collect()
        };
        let all = Tensor::new(values, &Device::Cpu).unwrap();
        // Whole, a part with an offset, nothing, and one that is not contiguous.
        let matrix = all.narrow(0, 5, 70_000).unwrap().reshape((700, 100)).unwrap();
        for wide in [all.clone(), matrix.clone(), all.narrow(0, 0, 0).unwrap(), matrix.t().unwrap()] {
            for narrow in [DType::BF16, DType::F16, DType::F64] {
                let (own, theirs) = (cast(&wide, narrow).unwrap(), wide.to_dtype(narrow).unwrap());
                assert_eq!((own.dtype(), own.dims()), (narrow, wide.dims()));
                assert_eq!(bits(&own), bits(&theirs), "{narrow:?}");
                assert_eq!(bits(&cast(&theirs, DType::F32).unwrap()), bits(&theirs), "{narrow:?} to float32");
            }
        }
    }
}
