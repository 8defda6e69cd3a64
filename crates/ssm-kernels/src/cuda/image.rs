use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaFunction, CudaModule, sys};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaDevice, DeviceId, WrapErr};

use crate::error::KernelError;

/// The compiled kernels of one file.
pub(crate) struct Image {
    bytes: &'static [u8],
    loaded: Mutex<Loaded>,
}

/// Modules per device, and their functions by device and name: loaded once.
#[derive(Default)]
struct Loaded {
    modules: Vec<(DeviceId, Arc<CudaModule>)>,
    functions: BTreeMap<String, Vec<(DeviceId, CudaFunction)>>,
}

impl Image {
    pub(crate) const fn new(bytes: &'static [u8]) -> Self {
        Self { bytes, loaded: Mutex::new(Loaded { modules: Vec::new(), functions: BTreeMap::new() }) }
    }

    /// The kernel of this name.
    pub(crate) fn function(&self, device: &CudaDevice, name: &str) -> Result<CudaFunction, KernelError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let known = loaded.functions.get(name).and_then(|all| all.iter().find(|(id, _)| *id == device.id()));
        if let Some((_, function)) = known {
            return Ok(function.clone());
        }
        let known = loaded.modules.iter().find(|(id, _)| *id == device.id()).map(|(_, module)| module.clone());
        let module = if let Some(module) = known {
            module
        } else {
            let module = device.cuda_stream().context().load_module(Ptx::from_binary(self.bytes.to_vec())).w()?;
            loaded.modules.push((device.id(), module.clone()));
            module
        };
        let function = module.load_function(name).w()?;
        // All the shared memory that the device has to give: a kernel gets no more than it is launched with.
        let most = sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let most = device.cuda_stream().context().attribute(most).w()? - function.shared_size_bytes().w()?;
        let limit = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(limit, most).w()?;
        loaded.functions.entry(name.to_owned()).or_default().push((device.id(), function.clone()));
        Ok(function)
    }
}

/// The kernels of `<name>.cu`, which the build script compiled.
macro_rules! image {
    ($name:literal) => {
        $crate::cuda::Image::new(include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".fatbin")))
    };
}
pub(crate) use image;
