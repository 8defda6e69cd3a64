//! Values that are NaN or infinite, in host memory.

use candle_core::{CpuStorage, Storage, Tensor};
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use crate::error::KernelError;
use crate::math::vectorised;

/// Values that one thread looks at together: 256 KiB of float32.
const VALUES_PER_TASK: usize = 1 << 16;
/// Of a number whose exponent has all bits set: NaN or infinite.
const F32_EXPONENT: u32 = 0x7f80_0000;
const BF16_EXPONENT: u16 = 0x7f80;
const F16_EXPONENT: u16 = 0x7c00;

/// Whether no value is NaN or infinite.
#[must_use]
pub fn is_finite(values: &[f32]) -> bool {
    wide(values)
}

/// Index and value of the first number of a tensor of floats in host memory that is NaN or, unless `allow_infinite`,
/// infinite; in the dtype that it is stored in. One read of memory where there is none.
///
/// # Errors
/// A tensor that is not contiguous in host memory, or of a dtype that holds no floats.
pub fn first_non_finite_value(tensor: &Tensor, allow_infinite: bool) -> Result<Option<(usize, f64)>, KernelError> {
    let refuse = || KernelError::Storage {
        op: "first_non_finite_value",
        tensor: "values",
        expected: "contiguous floats on the CPU",
        got: format!("{:?} {:?} on {:?}", tensor.dtype(), tensor.shape(), tensor.device().location()),
    };
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = layout.contiguous_offsets().ok_or_else(refuse)?;
    let Storage::Cpu(storage) = &*storage else { return Err(refuse()) };
    let bad = |value: f64| if allow_infinite { value.is_nan() } else { !value.is_finite() };
    Ok(match storage {
        CpuStorage::F32(values) => first(&values[start..end], wide, |value| f64::from(*value), bad),
        CpuStorage::F64(values) => {
            first(&values[start..end], |values| values.iter().all(|value| value.is_finite()), |value| *value, bad)
        }
        CpuStorage::BF16(values) => {
            let fast = |values: &[half::bf16]| narrow((values.reinterpret_cast(), BF16_EXPONENT));
            first(&values[start..end], fast, |value| value.to_f64(), bad)
        }
        CpuStorage::F16(values) => {
            let fast = |values: &[half::f16]| narrow((values.reinterpret_cast(), F16_EXPONENT));
            first(&values[start..end], fast, |value| value.to_f64(), bad)
        }
        _ => return Err(refuse()),
    })
}

/// The first value that is `bad`, of which there is none where `all_finite`.
fn first<T: Sync>(
    values: &[T],
    all_finite: impl Fn(&[T]) -> bool + Sync,
    number: impl Fn(&T) -> f64 + Sync,
    bad: impl Fn(f64) -> bool + Sync,
) -> Option<(usize, f64)> {
    let in_part = |(part, values): (usize, &[T])| {
        if all_finite(values) {
            return None;
        }
        let place = values.iter().position(|value| bad(number(value)))?;
        Some((part * VALUES_PER_TASK + place, number(&values[place])))
    };
    values.par_chunks(VALUES_PER_TASK).enumerate().find_map_first(in_part)
}

vectorised! {
    fn wide(values: &[f32]) -> bool {
        // A block has no way out, so that its loop is vectorised.
        values.chunks(4096).all(|block| {
            block.iter().fold(0, |any, value| any | u32::from(value.to_bits() & F32_EXPONENT == F32_EXPONENT)) == 0
        })
    }
}

vectorised! {
    /// As [`wide`] for numbers of 16 bits and the bits of their exponent.
    fn narrow(values: (&[u16], u16)) -> bool {
        let (values, exponent) = values;
        values
            .chunks(8192)
            .all(|block| block.iter().fold(0, |any, value| any | u16::from(value & exponent == exponent)) == 0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn the_first_value_is_found_in_every_dtype() {
        let n = 3 * VALUES_PER_TASK + 77;
        for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = vec![-60000.0_f32; n];
                let find = |values: &[f32], allow_infinite| {
                    let tensor = Tensor::from_slice(values, n, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
                    first_non_finite_value(&tensor, allow_infinite).unwrap()
                };
                assert_eq!(find(&values, false), None, "{dtype:?}");
                for place in [n - 1, 2 * VALUES_PER_TASK + 5, 0] {
                    values[place] = bad;
                    let (found, value) = find(&values, false).unwrap();
                    assert_eq!((found, value.is_nan()), (place, bad.is_nan()), "{dtype:?} {bad}");
                    assert_eq!(find(&values, true).is_some(), bad.is_nan(), "{dtype:?} {bad}");
                }
            }
        }
    }

    #[test]
    fn other_tensors_are_refused() {
        let ids = Tensor::zeros(3, DType::U32, &Device::Cpu).unwrap();
        assert!(first_non_finite_value(&ids, false).is_err());
        let turned = Tensor::zeros((3, 2), DType::F32, &Device::Cpu).unwrap().t().unwrap();
        assert!(first_non_finite_value(&turned, false).is_err());
    }
}
