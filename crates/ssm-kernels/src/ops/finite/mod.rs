#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::parallel::ROWS_PER_TASK;
use crate::error::{KernelError, expect_shape, unsupported};
use crate::finite::is_finite;
use crate::host::matrix;
use crate::segments::Segments;

const OP: &str = "first_non_finite";
/// Stands for a segment without such a row.
const NONE: u32 = u32::MAX;

/// The first rows of the segments of a stream that hold a value that is NaN or infinite.
#[derive(Clone, Debug)]
pub struct NonFinite(Found);

#[derive(Clone, Debug)]
enum Found {
    Read(Vec<u32>),
    /// Queued on a GPU; nobody has waited for it.
    #[cfg(feature = "cuda")]
    Queued(Tensor),
}

impl NonFinite {
    /// The row of each segment, counted from the segment's first one. Waits for the GPU, if the stream lies there.
    ///
    /// # Errors
    /// Of the device.
    pub fn rows(&self) -> Result<Vec<Option<usize>>, KernelError> {
        let row = |row: &u32| (*row != NONE).then_some(*row as usize);
        match &self.0 {
            Found::Read(rows) => Ok(rows.iter().map(row).collect()),
            #[cfg(feature = "cuda")]
            Found::Queued(rows) => Ok(rows.to_vec1::<u32>()?.iter().map(row).collect()),
        }
    }
}

/// Looks for values that are NaN or infinite. On a GPU the search is queued and nothing is waited for.
///
/// # Shapes
/// - `x`: `[tokens, any]`
///
/// # Errors
/// A stream of another length than the segments, or a dtype or device that does not fit.
pub fn first_non_finite(x: &Tensor, segments: &Segments) -> Result<NonFinite, KernelError> {
    let (rows, width) = x.dims2()?;
    expect_shape(OP, "x", &[rows, width], &[segments.n_tokens(), width])?;
    match x.device() {
        Device::Cpu => on_cpu(x, segments),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => Ok(NonFinite(Found::Queued(cuda::look(x, segments)?))),
        other => Err(unsupported(OP, other, x.dtype())),
    }
}

fn on_cpu(x: &Tensor, segments: &Segments) -> Result<NonFinite, KernelError> {
    let (values, _, width) = matrix(x, OP, "x")?;
    let values = &*values;
    // Most streams hold none: one look at all of it, and a second one at where it is only if there is.
    if values.par_chunks((ROWS_PER_TASK * width).max(1)).all(is_finite) {
        return Ok(NonFinite(Found::Read(vec![NONE; segments.len()])));
    }
    let first = |segment: usize| {
        let rows = segments.rows(segment);
        let mut own = values[rows.start * width..rows.end * width].chunks_exact(width);
        own.position(|row| !is_finite(row)).map_or(NONE, |row| row as u32)
    };
    Ok(NonFinite(Found::Read((0..segments.len()).map(first).collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_of_each_segment_is_found() {
        let segments = Segments::independent(&[40, 30, 1, 29]);
        let mut values = vec![1.0_f32; 100 * 7];
        let found = |values: &[f32]| {
            let x = Tensor::from_slice(values, (100, 7), &Device::Cpu).unwrap();
            first_non_finite(&x, &segments).unwrap().rows().unwrap()
        };
        values[3] = f32::MAX;
        values[4] = f32::MIN_POSITIVE / 8.0;
        assert_eq!(found(&values), [None; 4]);
        values[(40 + 5) * 7 + 6] = f32::NAN;
        values[(40 + 9) * 7] = f32::INFINITY;
        values[70 * 7 + 1] = f32::NEG_INFINITY;
        assert_eq!(found(&values), [None, Some(5), Some(0), None]);
        let x = Tensor::from_slice(&values, (100, 7), &Device::Cpu).unwrap();
        assert!(first_non_finite(&x, &Segments::independent(&[99])).is_err());
    }
}
