use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, result, sys};
use candle_core::cuda_backend::{CudaDevice, WrapErr};

use crate::error::KernelError;

/// Opens the GPU of this number: one stream, memory that stays with the program once it has it.
///
/// # Errors
/// The driver's reason.
pub fn open(ordinal: usize) -> Result<Device, KernelError> {
    let refuse = |error: candle_core::Error| {
        KernelError::Device(format!("GPU {ordinal} cannot be used: {}", first_line(&error.to_string())))
    };
    let count = count()?;
    if ordinal >= count {
        return Err(KernelError::Device(format!("there is no GPU {ordinal}: the driver sees {count}")));
    }
    // A stream of its own: the default one differs from thread to thread.
    let device = CudaDevice::new_with_stream(ordinal).map_err(refuse)?;
    // SAFETY: this program uses one stream per device, so the order of the stream is the order of every access.
    unsafe { device.disable_event_tracking() };
    keep_memory(&device).map_err(refuse)?;
    Ok(Device::Cuda(device))
}

/// How many GPUs the driver lets this program see; opens none.
///
/// # Errors
/// The driver's reason.
pub fn count() -> Result<usize, KernelError> {
    // The bindings panic where the driver's library itself is missing or too old.
    std::panic::catch_unwind(CudaContext::device_count)
        .map_err(|_| KernelError::Device("the CUDA driver's library cannot be loaded".to_owned()))?
        .map(|count| count.max(0) as usize)
        .map_err(|error| KernelError::Device(format!("the CUDA driver does not start: {error}")))
}

/// Keeps freed memory in the pool; by default it goes back to the driver whenever the host waits.
fn keep_memory(device: &CudaDevice) -> candle_core::Result<()> {
    let stream = device.cuda_stream();
    let everything = u64::MAX;
    // SAFETY: the pool belongs to the device just opened, and the attribute is a 64-bit number.
    unsafe {
        let mut pool = std::ptr::null_mut();
        sys::cuDeviceGetDefaultMemPool(&raw mut pool, stream.context().cu_device()).result().w()?;
        result::mem_pool::set_attribute(
            pool,
            sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw const everything).cast_mut().cast(),
        )
        .w()
    }
}

/// Most shared memory that a block may have, in bytes.
pub(crate) fn shared_limit(device: &CudaDevice) -> usize {
    let attribute = sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
    device.cuda_stream().context().attribute(attribute).map_or(0, |bytes| bytes.max(0) as usize)
}

/// Number of multiprocessors: how many blocks run beside each other.
pub(crate) fn multiprocessors(device: &CudaDevice) -> usize {
    let attribute = sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
    device.cuda_stream().context().attribute(attribute).map_or(1, |count| count.max(1) as usize)
}

/// The device's name.
pub(crate) fn name(device: &CudaDevice) -> Result<String, KernelError> {
    Ok(device.cuda_stream().context().name().w()?)
}

/// Free and total bytes of the device.
pub(crate) fn memory(device: &CudaDevice) -> Result<(usize, usize), KernelError> {
    Ok(device.cuda_stream().context().mem_get_info().w()?)
}

/// Bytes that the pool has handed out and not got back.
pub(crate) fn used_memory(device: &CudaDevice) -> Result<usize, KernelError> {
    pool_bytes(device, sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_USED_MEM_CURRENT, false)
}

/// Most bytes that the pool had handed out at once since the last call.
pub(crate) fn take_peak_memory(device: &CudaDevice) -> Result<usize, KernelError> {
    pool_bytes(device, sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_USED_MEM_HIGH, true)
}

fn pool_bytes(
    device: &CudaDevice,
    attribute: sys::CUmemPool_attribute_enum,
    reset: bool,
) -> Result<usize, KernelError> {
    let stream = device.cuda_stream();
    let (mut bytes, mut zero) = (0_u64, 0_u64);
    // SAFETY: the pool is the device's own, and the attribute is a 64-bit number, read and then set to zero where asked.
    unsafe {
        let mut pool = std::ptr::null_mut();
        sys::cuDeviceGetDefaultMemPool(&raw mut pool, stream.context().cu_device()).result().w()?;
        sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()).result().w()?;
        if reset {
            sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut zero).cast()).result().w()?;
        }
    }
    Ok(bytes as usize)
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or(message)
}
