use candle_core::{DType, Device};
use thiserror::Error;

/// Why an operation could not run.
#[derive(Debug, Error)]
pub enum KernelError {
    /// A tensor whose shape does not fit the others.
    #[error("{op}: {tensor} has shape {got:?}, expected {expected}")]
    Shape {
        /// Operation.
        op: &'static str,
        /// Argument.
        tensor: &'static str,
        /// What fits.
        expected: String,
        /// What came.
        got: Vec<usize>,
    },
    /// A tensor on another device, of another dtype or not contiguous.
    #[error("{op}: {tensor} must be {expected}, got {got}")]
    Storage {
        /// Operation.
        op: &'static str,
        /// Argument.
        tensor: &'static str,
        /// What fits.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// A segment table that is not a forest in token order.
    #[error("segments: {0}")]
    Segments(String),
    /// A device that cannot be used, or not for this.
    #[error("{0}")]
    Device(String),
    /// An error of the tensor library.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// There is no such operation on this device.
pub(crate) fn unsupported(op: &'static str, device: &Device, dtype: DType) -> KernelError {
    KernelError::Device(format!("{op}: there is no kernel for {} on {:?}", dtype.as_str(), device.location()))
}

/// The refusal of an index outside `x`, `[rows, width]`.
pub(crate) fn outside(op: &'static str, rows: usize, width: usize) -> KernelError {
    KernelError::Shape { op, tensor: "x", expected: "rows that hold every index".to_owned(), got: vec![rows, width] }
}

/// Refuses a tensor whose shape is not `expected`.
pub(crate) fn expect_shape(
    op: &'static str,
    tensor: &'static str,
    got: &[usize],
    expected: &[usize],
) -> Result<(), KernelError> {
    if got == expected {
        Ok(())
    } else {
        Err(KernelError::Shape { op, tensor, expected: format!("{expected:?}"), got: got.to_vec() })
    }
}
