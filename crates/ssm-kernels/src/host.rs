//! Borrowed float32 views of tensors in host memory.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

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
