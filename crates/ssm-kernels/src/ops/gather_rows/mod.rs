use candle_core::{Device, Tensor};

use crate::error::{KernelError, outside, unsupported};

#[cfg(feature = "cuda")]
mod cuda;

/// Rows of a matrix by index, in the order given; a row may be taken several times.
///
/// # Shapes
/// - `x`: `[rows, width]`; result: `[indices, width]`, of the dtype of `x`
///
/// # Errors
/// An index outside `x`, or a device without this operation.
pub fn gather_rows(x: &Tensor, indices: &[u32]) -> Result<Tensor, KernelError> {
    const OP: &str = "gather_rows";
    let (rows, width) = x.dims2()?;
    if indices.iter().any(|index| *index as usize >= rows) {
        return Err(outside(OP, rows, width));
    }
    match x.device() {
        Device::Cpu if indices.is_empty() => Ok(Tensor::zeros((0, width), x.dtype(), &Device::Cpu)?),
        Device::Cpu => Ok(x.index_select(&Tensor::new(indices, &Device::Cpu)?, 0)?),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::gather_rows(x, indices),
        other => Err(unsupported(OP, other, x.dtype())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_order_asked_for() {
        let x = Tensor::new(&[[1.0_f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu).unwrap();
        let rows = gather_rows(&x, &[2, 0, 2]).unwrap();
        assert_eq!(rows.to_vec2::<f32>().unwrap(), [[5.0, 6.0], [1.0, 2.0], [5.0, 6.0]]);
        assert_eq!(gather_rows(&x, &[]).unwrap().dims(), [0, 2]);
        assert!(gather_rows(&x, &[3]).is_err());
    }
}
