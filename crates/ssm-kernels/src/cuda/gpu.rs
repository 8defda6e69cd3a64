use std::ffi::c_void;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DeviceRepr, sys};
use candle_core::cuda_backend::{CudaDType, CudaDevice, WrapErr};
use candle_core::{CudaStorage, DType, Device, Shape, Storage, Tensor};

use super::args::Arg;
use super::boxes::Boxes;
use super::image::Image;
use super::profile;
use crate::error::KernelError;

/// One GPU, as operations see it.
#[derive(Clone)]
pub(crate) struct Gpu {
    device: CudaDevice,
    stream: Arc<CudaStream>,
}

/// Blocks and threads of a launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) blocks: (usize, usize, usize),
    /// Threads of a block in x and y.
    pub(crate) threads: (usize, usize),
    /// Dynamic shared memory of a block in bytes.
    pub(crate) shared: usize,
}

impl Gpu {
    /// The GPU on which `tensor` lies.
    pub(crate) fn of(tensor: &Tensor, op: &'static str) -> Result<Self, KernelError> {
        match tensor.device() {
            Device::Cuda(device) => Ok(Self::on(device)),
            other => Err(KernelError::Device(format!("{op}: expected a tensor on a GPU, got {:?}", other.location()))),
        }
    }

    pub(crate) fn on(device: &CudaDevice) -> Self {
        Self { device: device.clone(), stream: device.cuda_stream() }
    }

    pub(crate) fn device(&self) -> &CudaDevice {
        &self.device
    }

    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// A tensor whose values are yet to be written.
    pub(crate) fn empty(&self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor, KernelError> {
        let shape = shape.into();
        match dtype {
            DType::F32 => self.empty_of::<f32>(shape),
            DType::BF16 => self.empty_of::<half::bf16>(shape),
            DType::U32 => self.empty_of::<u32>(shape),
            DType::U8 => self.empty_of::<u8>(shape),
            other => Err(KernelError::Device(format!("no kernel writes {}", other.as_str()))),
        }
    }

    fn empty_of<T: CudaDType + DeviceRepr>(&self, shape: Shape) -> Result<Tensor, KernelError> {
        // SAFETY: every kernel of this crate writes the whole of the outputs that it is given before anything reads them.
        let slice = unsafe { self.device.alloc::<T>(shape.elem_count().max(1)) }?;
        let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(slice, self.device.clone()));
        Ok(Tensor::from_storage(storage, shape, candle_core::op::BackpropOp::none(), false))
    }

    /// Scratch memory whose values are yet to be written.
    pub(crate) fn scratch<T: DeviceRepr>(&self, len: usize) -> Result<CudaSlice<T>, KernelError> {
        // SAFETY: as in `empty_of`.
        Ok(unsafe { self.device.alloc::<T>(len.max(1)) }?)
    }

    /// Copies a table to the device; the stream is not waited for.
    pub(crate) fn upload<T: DeviceRepr + Copy + Default + 'static>(
        &self,
        values: &[T],
    ) -> Result<CudaSlice<T>, KernelError> {
        if values.is_empty() {
            return Ok(self.device.clone_htod(&[T::default()][..])?);
        }
        Ok(self.device.clone_htod(values)?)
    }

    /// Compute capability, major and minor.
    pub(crate) fn capability(&self) -> (i32, i32) {
        self.stream.context().compute_capability().unwrap_or((0, 0))
    }

    /// The address of a slice on this device.
    pub(crate) fn address<T>(&self, slice: &CudaSlice<T>) -> Arg {
        Arg::Pointer(slice.device_ptr(&self.stream).0)
    }

    /// Queues one kernel. `args` in the order of the kernel's parameters.
    pub(crate) fn launch(
        &self,
        image: &'static Image,
        kernel: &str,
        grid: Grid,
        args: &[Arg],
    ) -> Result<(), KernelError> {
        self.queue(image, kernel, grid, args.iter().map(Arg::place).collect())
    }

    /// The same for a kernel whose first parameter is a tensor map.
    pub(crate) fn launch_on_boxes(
        &self,
        image: &'static Image,
        kernel: &str,
        grid: Grid,
        boxes: &Boxes,
        args: &[Arg],
    ) -> Result<(), KernelError> {
        self.queue(image, kernel, grid, std::iter::once(boxes.place()).chain(args.iter().map(Arg::place)).collect())
    }

    /// `places`: where the arguments lie.
    fn queue(
        &self,
        image: &'static Image,
        kernel: &str,
        grid: Grid,
        mut places: Vec<*mut c_void>,
    ) -> Result<(), KernelError> {
        if grid.blocks.0 == 0 || grid.blocks.1 == 0 || grid.blocks.2 == 0 {
            return Ok(());
        }
        let function = image.function(&self.device, kernel)?;
        let mut overlap = overlap();
        let config = sys::CUlaunchConfig {
            gridDimX: grid.blocks.0 as u32,
            gridDimY: grid.blocks.1 as u32,
            gridDimZ: grid.blocks.2 as u32,
            blockDimX: grid.threads.0 as u32,
            blockDimY: grid.threads.1 as u32,
            blockDimZ: 1,
            sharedMemBytes: grid.shared as u32,
            hStream: self.stream.cu_stream(),
            attrs: &raw mut overlap,
            numAttrs: u32::from(self.capability().0 >= OVERLAP_SINCE),
        };
        self.stream.context().bind_to_thread().w()?;
        let launch = || {
            // SAFETY: the caller passes what the kernel's declaration lists, and tests run every kernel over awkward shapes;
            // the driver copies the arguments and the attribute before it returns.
            let status = unsafe {
                sys::cuLaunchKernelEx(
                    &raw const config,
                    function.cu_function(),
                    places.as_mut_ptr(),
                    std::ptr::null_mut(),
                )
            };
            Ok(status.result().w()?)
        };
        profile::around(&self.stream, || kernel.to_owned(), launch)
    }
}

/// Compute capability from which a kernel may be started before the one before it has ended.
const OVERLAP_SINCE: i32 = 9;

/// Starts a kernel as soon as the blocks of the one before it have ended. Every kernel of this crate waits for that one's
/// results before it touches memory (`wait_for_inputs` in `common.cuh`), so only the start itself overlaps. The kernels of decoding start
/// earlier and read before that what is known to be written (`ops/decode/decode.cuh`).
fn overlap() -> sys::CUlaunchAttribute {
    // SAFETY: plain numbers, for which zero is a value.
    let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
    attribute.id = sys::CUlaunchAttributeID_enum::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
    attribute
}

/// The suffix of a kernel's name for activations of this dtype.
pub(crate) fn suffix(dtype: DType, op: &'static str) -> Result<&'static str, KernelError> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("bf16"),
        other => Err(KernelError::Device(format!("{op}: no kernel for {}", other.as_str()))),
    }
}
