//! What the norms of a residual stream share: branches are added, then every row is normalised by itself.

#[cfg(feature = "cuda")]
pub(super) mod cuda;

use candle_core::Tensor;
use rayon::prelude::*;

use super::parallel::ROWS_PER_TASK;
use super::row_norm::{normalise, standardise};
use super::row_plan::RowPlan;
use crate::error::{KernelError, expect_shape};
use crate::host::{F32View, matrix};
use crate::math::vectorised;

/// `LayerNorm` of `hidden + residual` where there is a bias, RMSNorm where there is none, and the sum itself.
pub(super) fn on_cpu(
    op: &'static str,
    hidden: &Tensor,
    residual: Option<&Tensor>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f32,
    rows: Option<&RowPlan>,
) -> Result<(Tensor, Tensor), KernelError> {
    if let Some(rows) = rows {
        let residual = residual.map(|residual| rows.apply(residual, &rows.residual)).transpose()?;
        return on_cpu(op, &rows.apply(hidden, &rows.hidden)?, residual.as_ref(), weight, bias, eps, None);
    }
    let (hs, rows, width) = matrix(hidden, op, "hidden")?;
    let vector = |tensor: &'_ Tensor, name| expect_shape(op, name, tensor.dims(), &[width]);
    vector(weight, "weight")?;
    let weight = F32View::new(weight, op, "weight")?;
    let bias = match bias {
        Some(bias) => {
            vector(bias, "bias")?;
            Some(F32View::new(bias, op, "bias")?)
        }
        None => None,
    };
    let residual = match residual {
        Some(residual) => {
            expect_shape(op, "residual", residual.dims(), &[rows, width])?;
            Some(F32View::new(residual, op, "residual")?)
        }
        None => None,
    };
    let mut sum = vec![0.0; rows * width];
    let mut normed = vec![0.0; rows * width];
    let norm = Norm { weight: &weight, bias: bias.as_deref(), eps };
    let (hs, residual) = (&*hs, residual.as_deref());
    let block = ROWS_PER_TASK * width;
    sum.par_chunks_mut(block).zip(normed.par_chunks_mut(block)).enumerate().for_each(|(index, (sum, normed))| {
        let (first, last) = (index * block, index * block + sum.len());
        let residual = residual.map(|residual| &residual[first..last]);
        some_rows((&hs[first..last], residual, norm, sum, normed));
    });
    let device = hidden.device();
    Ok((Tensor::from_vec(normed, (rows, width), device)?, Tensor::from_vec(sum, (rows, width), device)?))
}

/// The norm of a row.
#[derive(Clone, Copy)]
struct Norm<'a> {
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    eps: f32,
}

/// Some rows of hidden and residual, the norm, and some rows of the sum and the normed sum.
type Rows<'a> = (&'a [f32], Option<&'a [f32]>, Norm<'a>, &'a mut [f32], &'a mut [f32]);

vectorised! {
    fn some_rows(rows: Rows<'_>) {
        let (hidden, residual, norm, sum, normed) = rows;
        let width = norm.weight.len();
        match residual {
            Some(residual) => add(hidden, residual, sum),
            None => sum.copy_from_slice(hidden),
        }
        for (sum, normed) in sum.chunks_exact(width).zip(normed.chunks_exact_mut(width)) {
            match norm.bias {
                Some(bias) => standardise(sum, norm.weight, bias, norm.eps, normed),
                None => normalise(sum, norm.weight, norm.eps, normed),
            }
        }
    }
}

#[inline(always)]
fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a + b;
    }
}
