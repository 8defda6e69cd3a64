use candle_core::cuda_backend::cudarc::driver::DevicePtr;
use candle_core::{DType, Storage, Tensor};

use super::args::Arg;
use super::gpu::Gpu;
use crate::error::KernelError;

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
