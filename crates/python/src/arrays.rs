//! Values of this program as read-only numpy arrays, without copies.
//!
//! numpy takes the address of an array from the attribute `__array_interface__` of an object and keeps that object as the array's base. So the
//! base owns the values: an array may outlive the call in which a rule saw it, and what it shows stays as it was, because nobody writes to
//! the values of a tensor that somebody else holds too.

use std::any::Any;
use std::sync::Arc;

use candle_core::Tensor;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// What keeps values alive: a tensor, or a copy. Their place in memory never changes.
type Owner = Arc<dyn Any + Send + Sync>;

/// The base of an array.
#[pyclass(frozen, skip_from_py_object, module = "ssm_reduce._native")]
#[derive(Clone)]
pub(crate) struct Memory {
    _owner: Owner,
    address: usize,
    shape: Vec<usize>,
    /// As `__array_interface__` names it: order of bytes, kind, size.
    kind: &'static str,
}

impl Memory {
    /// A row-major matrix, in `tensor` where one is named, else a copy.
    pub(crate) fn matrix(values: &[f32], rows: usize, columns: usize, tensor: Option<&Tensor>) -> Self {
        let shape = vec![rows, columns];
        match tensor {
            Some(tensor) => {
                Self { address: values.as_ptr() as usize, _owner: Arc::new(tensor.clone()), shape, kind: "<f4" }
            }
            None => Self { shape, ..Self::floats(values) },
        }
    }

    /// A copy of a vector.
    pub(crate) fn floats(values: &[f32]) -> Self {
        let own = values.to_vec();
        let (address, shape) = (own.as_ptr() as usize, vec![own.len()]);
        Self { _owner: Arc::new(own), address, shape, kind: "<f4" }
    }

    /// A copy of a vector.
    pub(crate) fn numbers(values: &[u32]) -> Self {
        let own = values.to_vec();
        let (address, shape) = (own.as_ptr() as usize, vec![own.len()]);
        Self { _owner: Arc::new(own), address, shape, kind: "<u4" }
    }

    /// A copy of a vector.
    pub(crate) fn flags(values: &[bool]) -> Self {
        let own = values.to_vec();
        let (address, shape) = (own.as_ptr() as usize, vec![own.len()]);
        Self { _owner: Arc::new(own), address, shape, kind: "|b1" }
    }

    /// As a numpy array.
    pub(crate) fn array(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        ASARRAY.import(py, "numpy", "asarray")?.call1((self,))
    }
}

#[pymethods]
impl Memory {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("shape", pyo3::types::PyTuple::new(py, &self.shape)?)?;
        interface.set_item("typestr", self.kind)?;
        // The second entry: nobody may write there.
        interface.set_item("data", (self.address, true))?;
        Ok(interface)
    }
}
