//! Borrowed float32 views of tensors in host memory.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use half::slice::HalfFloatSliceExt;
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
    // Rounded values first, then the copy: half the bytes cross the bus.
    let copied = tensor.contiguous()?.to_device(&Device::Cpu)?;
    if copied.dtype() == DType::BF16 { widen(&copied) } else { Ok(copied.to_dtype(DType::F32)?) }
}

/// A contiguous bfloat16 tensor in host memory as float32, by all threads: the tensor library uses one.
fn widen(tensor: &Tensor) -> Result<Tensor, KernelError> {
    const CHUNK: usize = 1 << 16;
    let mut wide = vec![0.0_f32; tensor.elem_count()];
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(CpuStorage::BF16(values)), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        unreachable!("copied to the host, contiguous, bfloat16");
    };
    let chunks = wide.par_chunks_mut(CHUNK).zip(values[start..end].par_chunks(CHUNK));
    chunks.for_each(|(wide, narrow)| narrow.convert_to_f32_slice(wide));
    Ok(Tensor::from_vec(wide, tensor.shape(), &Device::Cpu)?)
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
    fn bfloat16_is_widened_without_a_change() {
        let values: Vec<f32> = (0..200_000).map(|i| i as f32 * 0.37 - 1000.0).collect();
        let narrow = Tensor::new(values, &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap();
        let part = narrow.narrow(0, 3, 150_001).unwrap();
        let expected: Vec<f32> = part.to_dtype(DType::F32).unwrap().to_vec1().unwrap();
        assert_eq!(copy(&part).unwrap().to_vec1::<f32>().unwrap(), expected);
    }
}
