//! Where tensors live: the CPU, or one NVIDIA GPU.

use candle_core::{DType, Device};

use crate::error::KernelError;
pub use crate::kernel_time::{KernelTime, REDUCTION_KERNELS};

/// A device and the dtype in which activations are computed there.
///
/// Residual stream, norms, scan states, step sizes and scores are float32 whatever the dtype.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The device.
    pub device: Device,
    /// Float32, or bfloat16 (on a GPU).
    pub dtype: DType,
}

impl Placement {
    /// Float32 in host memory.
    #[must_use]
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, dtype: DType::F32 }
    }

    /// Refuses a dtype that the device does not compute in.
    ///
    /// # Errors
    /// Anything but float32 on the CPU, and float32 or bfloat16 on a GPU.
    pub fn new(device: Device, dtype: DType) -> Result<Self, KernelError> {
        match (&device, dtype) {
            (Device::Cpu, DType::F32) | (Device::Cuda(_), DType::F32 | DType::BF16) => Ok(Self { device, dtype }),
            _ => Err(KernelError::Device(format!(
                "{} on {}: the CPU computes in float32, a GPU in float32 or bfloat16",
                dtype.as_str(),
                if device.is_cpu() { "the CPU" } else { "this device" }
            ))),
        }
    }
}

#[cfg(not(feature = "cuda"))]
const WITHOUT_CUDA: &str = "this program was built without CUDA; build it with `--features cuda`";

/// Opens the GPU of this number.
///
/// # Errors
/// A build without the feature `cuda`, or the driver's reason.
#[cfg(not(feature = "cuda"))]
pub fn open_cuda(_ordinal: usize) -> Result<Device, KernelError> {
    Err(KernelError::Device(WITHOUT_CUDA.to_owned()))
}

#[cfg(feature = "cuda")]
pub use crate::cuda::open as open_cuda;

/// How many GPUs the driver lets this program see.
///
/// # Errors
/// A build without the feature `cuda`, or the driver's reason.
#[cfg(not(feature = "cuda"))]
pub fn count_cuda() -> Result<usize, KernelError> {
    Err(KernelError::Device(WITHOUT_CUDA.to_owned()))
}

#[cfg(feature = "cuda")]
pub use crate::cuda::count as count_cuda;

/// The device's name.
///
/// # Errors
/// The driver's reason.
pub fn name(device: &Device) -> Result<String, KernelError> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => crate::cuda::name(device),
        _ => Ok("CPU".to_owned()),
    }
}

/// Bytes of the device's memory: `(free, total)`; nothing is known of the CPU's.
///
/// # Errors
/// The driver's reason.
pub fn memory(device: &Device) -> Result<Option<(usize, usize)>, KernelError> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => crate::cuda::memory(device).map(Some),
        _ => Ok(None),
    }
}

/// Bytes of the device's memory that this program's tensors take; nothing is known of the CPU's.
///
/// # Errors
/// The driver's reason.
pub fn used_memory(device: &Device) -> Result<Option<usize>, KernelError> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => crate::cuda::used_memory(device).map(Some),
        _ => Ok(None),
    }
}

/// Most bytes of the device's memory in use at once since the last call; nothing is known of the CPU's.
///
/// # Errors
/// The driver's reason.
pub fn take_peak_memory(device: &Device) -> Result<Option<usize>, KernelError> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => crate::cuda::take_peak_memory(device).map(Some),
        _ => Ok(None),
    }
}

/// Runs `work` and measures every kernel that it launches, the slowest first; an empty list on the CPU. Not measured: what candle
/// launches by itself, and copies.
///
/// The measuring itself costs a few microseconds a launch: time the whole apart from this.
///
/// # Errors
/// The second part: of the device.
pub fn profile<T>(device: &Device, work: impl FnOnce() -> T) -> (T, Result<Vec<KernelTime>, KernelError>) {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            crate::cuda::profile::start();
            let done = work();
            (done, crate::cuda::profile::finish(device))
        }
        _ => (work(), Ok(Vec::new())),
    }
}

/// Waits until the device has done all it was given; nothing to wait for on the CPU.
///
/// # Errors
/// What went wrong there meanwhile.
pub fn synchronize(device: &Device) -> Result<(), KernelError> {
    Ok(device.synchronize()?)
}
