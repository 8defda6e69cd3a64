use candle_core::{Device, Tensor};

use crate::error::{KernelError, expect_shape, outside, unsupported};

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

/// Rows to take of several matrices of one length: checked once, and on a GPU copied there once.
#[derive(Clone, Debug)]
pub struct RowChoice {
    rows_in: usize,
    indices: Tensor,
}

impl RowChoice {
    /// These rows, at least one, of matrices of `rows_in` rows on a device.
    ///
    /// # Errors
    /// An index outside, no index at all, or an error of the device.
    pub fn new(rows_in: usize, indices: Vec<u32>, device: &Device) -> Result<Self, KernelError> {
        if indices.is_empty() || indices.iter().any(|index| *index as usize >= rows_in) {
            return Err(outside("row_choice", rows_in, 1));
        }
        let len = indices.len();
        Ok(Self { rows_in, indices: Tensor::from_vec(indices, len, device)? })
    }

    /// Those rows of a matrix, in their order.
    ///
    /// # Shapes
    /// - `x`: `[rows_in, width]`; result: `[indices, width]`, of the dtype of `x`
    ///
    /// # Errors
    /// A matrix of another length, or on another device.
    pub fn of(&self, x: &Tensor) -> Result<Tensor, KernelError> {
        const OP: &str = "row_choice";
        let (rows, width) = x.dims2()?;
        expect_shape(OP, "x", &[rows, width], &[self.rows_in, width])?;
        match x.device() {
            Device::Cpu => Ok(x.index_select(&self.indices, 0)?),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => cuda::chosen_rows(x, &self.indices),
            other => Err(unsupported(OP, other, x.dtype())),
        }
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

    #[test]
    fn a_choice_takes_the_same_rows_of_every_matrix() {
        let x = Tensor::new(&[[1.0_f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu).unwrap();
        let choice = |rows: &[u32]| RowChoice::new(3, rows.to_vec(), &Device::Cpu);
        for rows in [&[0_u32, 2][..], &[1], &[0, 1, 2]] {
            let (want, got) = (gather_rows(&x, rows).unwrap(), choice(rows).unwrap().of(&x).unwrap());
            assert_eq!(want.to_vec2::<f32>().unwrap(), got.to_vec2::<f32>().unwrap());
        }
        assert!(choice(&[3]).is_err() && choice(&[]).is_err());
        assert!(choice(&[0]).unwrap().of(&x.narrow(0, 0, 2).unwrap()).is_err());
    }
}
