use std::ffi::c_void;

use candle_core::Tensor;

use crate::error::KernelError;

/// One argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    /// An address on the device; 0 where an optional tensor is absent.
    Pointer(u64),
    /// A 32-bit number.
    Int(i32),
    /// A 64-bit number: row strides and element counts.
    Long(i64),
    /// A real number.
    Float(f32),
    /// A real number in double precision.
    Double(f64),
}

impl Arg {
    /// An optional tensor that is absent.
    pub(crate) const NULL: Self = Self::Pointer(0);

    /// The address behind a tensor's argument; 0 for a number.
    pub(crate) fn address(self) -> u64 {
        if let Self::Pointer(address) = self { address } else { 0 }
    }

    /// Where the value lies, as the driver wants it.
    pub(super) fn place(&self) -> *mut c_void {
        match self {
            Self::Pointer(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Int(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Long(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Float(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Double(value) => std::ptr::from_ref(value).cast_mut().cast(),
        }
    }

    /// A count as a 32-bit argument.
    pub(crate) fn int(value: usize) -> Self {
        Self::Int(value as i32)
    }

    /// A stride as a 64-bit argument.
    pub(crate) fn long(value: usize) -> Self {
        Self::Long(value as i64)
    }
}

/// Rows, columns and row stride of a matrix whose rows are contiguous.
pub(crate) fn rows_of(
    tensor: &Tensor,
    op: &'static str,
    name: &'static str,
) -> Result<(usize, usize, usize), KernelError> {
    let (rows, columns) = tensor.dims2().map_err(|_| KernelError::Shape {
        op,
        tensor: name,
        expected: "[rows, columns]".to_owned(),
        got: tensor.dims().to_vec(),
    })?;
    match tensor.stride() {
        [stride, 1] => Ok((rows, columns, *stride)),
        [stride, _] if columns <= 1 => Ok((rows, columns, *stride)),
        _ => Err(KernelError::Storage {
            op,
            tensor: name,
            expected: "a matrix with contiguous rows on the GPU",
            got: format!("strides {:?} of {:?}", tensor.stride(), tensor.shape()),
        }),
    }
}
