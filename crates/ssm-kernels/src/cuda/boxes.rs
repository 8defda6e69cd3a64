//! Tensor maps: matrices that the Tensor Memory Accelerator (TMA) of a GPU copies in boxes.

use std::ffi::c_void;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys;

use super::args::Arg;
use crate::error::KernelError;

/// A tensor map, which a kernel takes by value as its first argument. It is no [`Arg`]: those are small.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Boxes(sys::CUtensorMap);

impl Boxes {
    /// Where the value lies, as the driver wants it.
    pub(super) fn place(&self) -> *mut c_void {
        std::ptr::from_ref(&self.0).cast_mut().cast()
    }
}

/// A bfloat16 matrix of `rows` contiguous rows of `columns` at `address`, to be copied in boxes of `size` (rows, columns), each up
/// to 256. What a box has outside of the matrix is zero. Rows are a multiple of 16 bytes, and so is the address.
///
/// # Errors
/// The driver's reason. The TMA comes with compute capability 9.0.
pub(crate) fn boxes(address: Arg, (rows, columns): (usize, usize), size: (usize, usize)) -> Result<Boxes, KernelError> {
    let mut map = sys::CUtensorMap { opaque: [0; 16] };
    let row_bytes = (columns * size_of::<half::bf16>()) as u64;
    let sizes = [columns as u64, rows as u64];
    let box_sizes = [size.1 as u32, size.0 as u32];
    // SAFETY: the driver reads two sizes, one stride, two box sizes and two element strides, and writes the map.
    let status = unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut map,
            sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            2,
            address.address() as *mut c_void,
            sizes.as_ptr(),
            &raw const row_bytes,
            box_sizes.as_ptr(),
            [1, 1].as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    status.result().w()?;
    Ok(Boxes(map))
}
