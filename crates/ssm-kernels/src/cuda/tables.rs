use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;

use super::gpu::Gpu;
use crate::error::KernelError;

/// A segment table on one device, and what operations derive from it: uploaded once, used by every layer.
pub(crate) struct DeviceTables {
    /// First row of every segment, then the end of the last.
    pub(crate) offsets: CudaSlice<i32>,
    /// Parent of every segment, -1 for roots.
    pub(crate) parents: CudaSlice<i32>,
    derived: Mutex<HashMap<(&'static str, usize), Derived>>,
}

impl DeviceTables {
    /// From the first row of every segment, then the end of the last, and the parents.
    fn new(offsets: &[usize], parents: &[Option<usize>], gpu: &Gpu) -> Result<Self, KernelError> {
        let offsets: Vec<i32> = offsets.iter().map(|row| *row as i32).collect();
        let parents: Vec<i32> = parents.iter().map(|parent| parent.map_or(-1, |parent| parent as i32)).collect();
        Ok(Self { offsets: gpu.upload(&offsets)?, parents: gpu.upload(&parents)?, derived: Mutex::default() })
    }

    /// What `make` makes of the segments, made once per name and variant.
    pub(crate) fn derive<T: Any + Send + Sync>(
        &self,
        name: &'static str,
        variant: usize,
        make: impl FnOnce() -> Result<T, KernelError>,
    ) -> Result<Arc<T>, KernelError> {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        let known = derived.get(&(name, variant)).cloned().and_then(|known| known.downcast::<T>().ok());
        if let Some(known) = known {
            return Ok(known);
        }
        let made = Arc::new(make()?);
        derived.insert((name, variant), made.clone());
        Ok(made)
    }
}

/// What an operation made of the segments; it knows the type.
type Derived = Arc<dyn Any + Send + Sync>;

/// The tables of one set of segments on every device that asked for them.
#[derive(Clone, Default)]
pub(crate) struct OnDevices(Arc<Mutex<Vec<OnDevice>>>);

type OnDevice = (DeviceId, Arc<DeviceTables>);

impl OnDevices {
    /// The tables on this device, uploaded at the first call; every call passes the same `offsets` and `parents`.
    pub(crate) fn get(
        &self,
        offsets: &[usize],
        parents: &[Option<usize>],
        gpu: &Gpu,
    ) -> Result<Arc<DeviceTables>, KernelError> {
        let mut devices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = gpu.device().id();
        if let Some((_, tables)) = devices.iter().find(|(device, _)| *device == id) {
            return Ok(tables.clone());
        }
        let tables = Arc::new(DeviceTables::new(offsets, parents, gpu)?);
        devices.push((id, tables.clone()));
        Ok(tables)
    }
}
