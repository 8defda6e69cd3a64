//! From the GPU to the host by way of page-locked memory: a copy into a fresh vector goes through the driver's own small buffer
//! and touches every new page on one thread, at a tenth of the speed of the bus.

use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{PinnedHostSlice, result};
use candle_core::cuda_backend::{DeviceId, WrapErr};
use candle_core::{DType, Device, Tensor};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::gpu::Gpu;
use crate::error::KernelError;

/// Page-locked float32 values per device, kept: 32 MB.
const BUFFER: usize = 8 << 20;
/// Values that a thread takes out of the buffer at once.
const CHUNK: usize = 1 << 15;

static BUFFERS: Mutex<Vec<(DeviceId, PinnedHostSlice<f32>)>> = Mutex::new(Vec::new());

/// A contiguous float32 or bfloat16 tensor as a float32 tensor in host memory. Waits for the stream.
pub(crate) fn download(tensor: &Tensor) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(tensor, "copy to the host")?;
    let mut values = vec![0.0_f32; tensor.elem_count()];
    let address = gpu.tensor(tensor)?.address();
    with_buffer(&gpu, |buffer| {
        if tensor.dtype() != DType::BF16 {
            return receive(&gpu, address, buffer, &mut values, <[f32]>::copy_from_slice);
        }
        // SAFETY: the same bytes, which two by two are a bfloat16 whatever they are; nobody else has them meanwhile.
        let narrow = unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<bf16>(), 2 * buffer.len()) };
        receive(&gpu, address, narrow, &mut values, |wide, narrow| narrow.convert_to_f32_slice(wide))
    })?;
    Ok(Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?)
}

/// The page-locked buffer of a device, which one thread uses at a time.
fn with_buffer(gpu: &Gpu, work: impl FnOnce(&mut [f32]) -> Result<(), KernelError>) -> Result<(), KernelError> {
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    let id = gpu.device().id();
    if !buffers.iter().any(|(device, _)| *device == id) {
        // SAFETY: what is read of it was copied there before.
        buffers.push((id, unsafe { gpu.stream().context().alloc_pinned_with_flags(BUFFER, 0) }.w()?));
    }
    let buffer = buffers.iter_mut().find(|(device, _)| *device == id).map(|(_, buffer)| buffer);
    work(buffer.unwrap_or_else(|| unreachable!("pushed above")).as_mut_slice().w()?)
}

/// Several contiguous tensors of 4-byte values (float32 or u32) in host memory, as the words that they are made of: the stream is waited for
/// once for as many as fit into the buffer.
pub(crate) fn words(tensors: &[&Tensor]) -> Result<Vec<Vec<u32>>, KernelError> {
    let Some(first) = tensors.first() else { return Ok(Vec::new()) };
    let gpu = Gpu::of(first, "copy to the host")?;
    let mut pieces = Vec::new();
    for (tensor, place) in tensors.iter().zip(0..) {
        if !matches!(tensor.dtype(), DType::F32 | DType::U32) {
            return Err(KernelError::Device(format!("no words of {}", tensor.dtype().as_str())));
        }
        let address = gpu.tensor(tensor)?.address();
        let starts = (0..tensor.elem_count()).step_by(BUFFER);
        pieces.extend(starts.map(|start| (place, address + 4 * start as u64, BUFFER.min(tensor.elem_count() - start))));
    }
    let mut all: Vec<Vec<u32>> = tensors.iter().map(|tensor| Vec::with_capacity(tensor.elem_count())).collect();
    gpu.stream().context().bind_to_thread().w()?;
    with_buffer(&gpu, |buffer| {
        let mut rest = pieces.as_slice();
        while !rest.is_empty() {
            let mut end = 0;
            let fits = rest.iter().take_while(|(_, _, len)| {
                end += len;
                end <= BUFFER
            });
            let (now, later) = rest.split_at(fits.count());
            let mut start = 0;
            for (_, address, len) in now {
                // SAFETY: the tensor is contiguous and holds that many words from there on; the buffer is not read, nor written again,
                // before the stream has been waited for.
                unsafe {
                    result::memcpy_dtoh_async(&mut buffer[start..start + len], *address, gpu.stream().cu_stream())
                }
                .w()?;
                start += len;
            }
            gpu.stream().synchronize().w()?;
            start = 0;
            for (place, _, len) in now {
                all[*place].extend(buffer[start..start + len].iter().map(|value| value.to_bits()));
                start += len;
            }
            rest = later;
        }
        Ok(())
    })?;
    Ok(all)
}

/// Copies as many values of `T` from `address` as `values` has, by way of `buffer`; all threads `take` them out of it.
fn receive<T: Send + Sync>(
    gpu: &Gpu,
    address: u64,
    buffer: &mut [T],
    values: &mut [f32],
    take: impl Fn(&mut [f32], &[T]) + Sync,
) -> Result<(), KernelError> {
    gpu.stream().context().bind_to_thread().w()?;
    let mut from = address;
    for part in values.chunks_mut(buffer.len()) {
        let arriving = &mut buffer[..part.len()];
        // SAFETY: the tensor is contiguous and holds that many values from there on; the buffer is not read, nor written again,
        // before the stream has been waited for.
        unsafe { result::memcpy_dtoh_async(arriving, from, gpu.stream().cu_stream()) }.w()?;
        gpu.stream().synchronize().w()?;
        from += size_of_val(arriving) as u64;
        part.par_chunks_mut(CHUNK).zip(arriving.par_chunks(CHUNK)).for_each(|(values, arrived)| take(values, arrived));
    }
    Ok(())
}
