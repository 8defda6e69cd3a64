use std::ffi::c_void;

use candle_core::cuda_backend::cudarc::driver::DevicePtr;
use candle_core::{DType, Storage, Tensor};

use super::Gpu;
use crate::error::KernelError;

/// One argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    /// An address on the device; 0 where an optional tensor is absent.
    Pointer(u64),
    /// A 32-bit number.
    Int(i32),
    /// A 64-bit number: row strides and element counts.
    Long(i64),
    /// A real number.
    Float(f32),
}

impl Arg {
    /// An optional tensor that is absent.
    pub(crate) const NULL: Self = Self::Pointer(0);

    /// The address behind a tensor's argument; 0 for a number.
    pub(crate) fn address(self) -> u64 {
        if let Self::Pointer(address) = self { address } else { 0 }
    }

    /// Where the value lies, as the driver wants it.
    pub(super) fn place(&self) -> *mut c_void {
        match self {
            Self::Pointer(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Int(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Long(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Float(value) => std::ptr::from_ref(value).cast_mut().cast(),
        }
    }

    /// A count as a 32-bit argument.
    pub(crate) fn int(value: usize) -> Self {
        Self::Int(value as i32)
    }

    /// A stride as a 64-bit argument.
    pub(crate) fn long(value: usize) -> Self {
        Self::Long(value as i64)
    }
}

impl Gpu {
    /// The address of a tensor's first element.
    ///
    /// The rows must be contiguous and evenly spaced, which a view of some columns of a wider matrix is.
    pub(crate) fn tensor(&self, tensor: &Tensor) -> Result<Arg, KernelError> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else {
            return Err(KernelError::Device(format!(
                "expected a tensor on the GPU, got {:?}",
                tensor.device().location()
            )));
        };
        let offset = layout.start_offset() as u64;
        let (base, size) = match tensor.dtype() {
            DType::F32 => (storage.as_cuda_slice::<f32>()?.device_ptr(self.stream()).0, 4),
            DType::BF16 => (storage.as_cuda_slice::<half::bf16>()?.device_ptr(self.stream()).0, 2),
            DType::U32 => (storage.as_cuda_slice::<u32>()?.device_ptr(self.stream()).0, 4),
            DType::U8 => (storage.as_cuda_slice::<u8>()?.device_ptr(self.stream()).0, 1),
            other => return Err(KernelError::Device(format!("no kernel reads {}", other.as_str()))),
        };
        Ok(Arg::Pointer(base + offset * size))
    }

    /// As [`Gpu::tensor`], or the null address.
    pub(crate) fn optional(&self, tensor: Option<&Tensor>) -> Result<Arg, KernelError> {
        tensor.map_or(Ok(Arg::NULL), |tensor| self.tensor(tensor))
    }

    /// A tensor without gaps, of any dtype that kernels read.
    pub(crate) fn contiguous(&self, tensor: &Tensor, op: &'static str, name: &'static str) -> Result<Arg, KernelError> {
        if !tensor.is_contiguous() {
            return Err(KernelError::Storage {
                op,
                tensor: name,
                expected: "a contiguous tensor on the GPU",
                got: format!("strides {:?} of {:?}", tensor.stride(), tensor.shape()),
            });
        }
        self.tensor(tensor)
    }

    /// A contiguous float32 tensor: weights, states, residuals.
    pub(crate) fn float32(&self, tensor: &Tensor, op: &'static str, name: &'static str) -> Result<Arg, KernelError> {
        if tensor.dtype() != DType::F32 || !tensor.is_contiguous() {
            return Err(KernelError::Storage {
                op,
                tensor: name,
                expected: "a contiguous float32 tensor on the GPU",
                got: format!("{:?} {:?}", tensor.dtype(), tensor.shape()),
            });
        }
        self.tensor(tensor)
    }
}

/// Rows, columns and row stride of a matrix whose rows are contiguous.
pub(crate) fn rows_of(
    tensor: &Tensor,
    op: &'static str,
    name: &'static str,
) -> Result<(usize, usize, usize), KernelError> {
    let (rows, columns) = tensor.dims2().map_err(|_| KernelError::Shape {
        op,
        tensor: name,
        expected: "[rows, columns]".to_owned(),
        got: tensor.dims().to_vec(),
    })?;
    match tensor.stride() {
        [stride, 1] => Ok((rows, columns, *stride)),
        [stride, _] if columns <= 1 => Ok((rows, columns, *stride)),
        _ => Err(KernelError::Storage {
            op,
            tensor: name,
            expected: "a matrix with contiguous rows on the GPU",
            got: format!("strides {:?} of {:?}", tensor.stride(), tensor.shape()),
        }),
    }
}
