//! From the GPU to the host by way of page-locked memory: a copy into a fresh vector goes through the driver's own small buffer
//! and touches every new page on one thread, at a tenth of the speed of the bus.

use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{PinnedHostSlice, result};
use candle_core::cuda_backend::{DeviceId, WrapErr};
use candle_core::{DType, Device, Tensor};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::Gpu;
use crate::error::KernelError;

/// Page-locked bytes per device, kept.
const BUFFER: usize = 32 << 20;
/// Values that a thread takes out of the buffer at once.
const CHUNK: usize = 1 << 15;

static BUFFERS: Mutex<Vec<(DeviceId, PinnedHostSlice<u8>)>> = Mutex::new(Vec::new());

/// A contiguous float32 or bfloat16 tensor as a float32 tensor in host memory. Waits for the stream.
pub(crate) fn download(tensor: &Tensor) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(tensor, "copy to the host")?;
    let mut values = vec![0.0_f32; tensor.elem_count()];
    let size = tensor.dtype().size_in_bytes();
    let address = gpu.tensor(tensor)?.address();
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    let id = gpu.device().id();
    if !buffers.iter().any(|(device, _)| *device == id) {
        // SAFETY: bytes of any value are bytes; what is read of them was copied there before.
        buffers.push((id, unsafe { gpu.stream().context().alloc_pinned_with_flags(BUFFER, 0) }.w()?));
    }
    let buffer = buffers.iter_mut().find(|(device, _)| *device == id).map(|(_, buffer)| buffer);
    let buffer = buffer.unwrap_or_else(|| unreachable!("pushed above")).as_mut_slice().w()?;
    gpu.stream().context().bind_to_thread().w()?;
    for (index, part) in values.chunks_mut(BUFFER / size).enumerate() {
        let bytes = &mut buffer[..part.len() * size];
        let from = address + (index * (BUFFER / size) * size) as u64;
        // SAFETY: the tensor is contiguous and holds these bytes; nobody else has the buffer, and the stream is waited for before
        // it is read.
        unsafe { result::memcpy_dtoh_async(bytes, from, gpu.stream().cu_stream()) }.w()?;
        gpu.stream().synchronize().w()?;
        let taken = part.par_chunks_mut(CHUNK).zip(bytes.par_chunks(CHUNK * size));
        if tensor.dtype() == DType::BF16 {
            // SAFETY: page-locked memory and every chunk of it begin at multiples of two, and any two bytes are a bfloat16.
            let narrow =
                |bytes: &[u8]| unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<bf16>(), bytes.len() / 2) };
            taken.for_each(|(wide, bytes)| narrow(bytes).convert_to_f32_slice(wide));
        } else {
            // SAFETY: as above, of four.
            let same =
                |bytes: &[u8]| unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<f32>(), bytes.len() / 4) };
            taken.for_each(|(values, bytes)| values.copy_from_slice(same(bytes)));
        }
    }
    Ok(Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?)
}
