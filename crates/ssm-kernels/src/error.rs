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
    #[error("{op}: {tensor} must be a contiguous float32 tensor on the CPU, got {got}")]
    Storage {
        /// Operation.
        op: &'static str,
        /// Argument.
        tensor: &'static str,
        /// What came.
        got: String,
    },
    /// A segment table that is not a forest in token order.
    #[error("segments: {0}")]
    Segments(String),
    /// An error of the tensor library.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
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
