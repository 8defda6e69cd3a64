#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::parallel::ROWS_PER_TASK;
use super::row_norm::{normalise, rms_scale};
use crate::error::{KernelError, expect_shape, unsupported};
use crate::host::{F32View, matrix};
use crate::math::{silu, vectorised};

const OP: &str = "gated_rms_norm";

/// Whether the gate comes before or after the normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateOrder {
    /// `norm(y * silu(z))`: `norm_before_gate = False` in mamba_ssm, the default of all published Mamba-2 models.
    GateFirst,
    /// `norm(y) * silu(z)`: `norm_before_gate = True`.
    NormFirst,
}

/// Parameters of the gated norm of Mamba-2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatedNorm {
    /// Order of gate and norm.
    pub order: GateOrder,
    /// Number of equal groups of channels that are normalised apart (mamba_ssm: `ngroups`; HF transformers: 1).
    pub groups: usize,
    /// Added to the mean square.
    pub eps: f32,
}

/// Gates the scan's output: `y * silu(z)`, with `z` read in place from `projected[:, z_start..z_start + d_inner]`.
///
/// # Shapes
/// - `y`: `[tokens, d_inner]`; `projected`: `[tokens, width]`; result as `y`
///
/// # Errors
/// Shapes, dtypes or devices that do not fit.
pub fn gate(y: &Tensor, projected: &Tensor, z_start: usize) -> Result<Tensor, KernelError> {
    match y.device() {
        Device::Cpu => rows(y, projected, z_start, None),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::gate(y, projected, z_start),
        other => Err(unsupported("gate", other, y.dtype())),
    }
}

/// A gated linear unit (<https://arxiv.org/abs/2002.05202>, `SwiGLU` without its projections) of columns of one matrix:
/// `projected[:, value_start..] * silu(projected[:, gate_start..])`, `width` columns each, read in place.
///
/// # Shapes
/// - `projected`: `[tokens, columns]`; result: `[tokens, width]`
///
/// # Errors
/// Shapes, dtypes or devices that do not fit.
pub fn gated_unit(
    projected: &Tensor,
    value_start: usize,
    gate_start: usize,
    width: usize,
) -> Result<Tensor, KernelError> {
    const OP: &str = "gated_unit";
    let (rows, columns) = projected.dims2()?;
    let least = value_start.max(gate_start) + width;
    if columns < least {
        return Err(KernelError::Shape {
            op: OP,
            tensor: "projected",
            expected: format!("[{rows}, at least {least}]"),
            got: projected.dims().to_vec(),
        });
    }
    match projected.device() {
        Device::Cpu => {
            let (xs, _, _) = matrix(projected, OP, "projected")?;
            let xs = &*xs;
            let mut out = vec![0.0; rows * width];
            out.par_chunks_mut((ROWS_PER_TASK * width).max(1)).enumerate().for_each(|(index, out)| {
                let x = &xs[index * ROWS_PER_TASK * columns..];
                unit_rows((x, columns, value_start, gate_start, width, out));
            });
            Ok(Tensor::from_vec(out, (rows, width), projected.device())?)
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::gate(&projected.narrow(1, value_start, width)?, projected, gate_start),
        other => Err(unsupported(OP, other, projected.dtype())),
    }
}

/// The gated, grouped RMSNorm of Mamba-2 (`RMSNormGated` in mamba_ssm), with `z` read in place.
///
/// # Shapes
/// - `y`: `[tokens, d_inner]`; `projected`: `[tokens, width]`; `weight`: `[d_inner]`; result as `y`
///
/// # Errors
/// As [`gate`]; `d_inner` must be a multiple of the groups.
pub fn gated_rms_norm(
    y: &Tensor,
    projected: &Tensor,
    z_start: usize,
    weight: &Tensor,
    norm: GatedNorm,
) -> Result<Tensor, KernelError> {
    let d_inner = y.dim(1)?;
    expect_shape(OP, "weight", weight.dims(), &[d_inner])?;
    if !d_inner.is_multiple_of(norm.groups) {
        return Err(KernelError::Shape {
            op: OP,
            tensor: "y",
            expected: format!("a width that {} groups divide", norm.groups),
            got: y.dims().to_vec(),
        });
    }
    match y.device() {
        Device::Cpu => rows(y, projected, z_start, Some((&*F32View::new(weight, OP, "weight")?, norm))),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::gated_rms_norm(y, projected, z_start, weight, norm),
        other => Err(unsupported(OP, other, y.dtype())),
    }
}

/// Applies gate and, where given, norm to every row.
fn rows(
    y: &Tensor,
    projected: &Tensor,
    z_start: usize,
    norm: Option<(&[f32], GatedNorm)>,
) -> Result<Tensor, KernelError> {
    const OP: &str = "gate";
    let (ys, rows, d_inner) = matrix(y, OP, "y")?;
    let (zs, z_rows, stride) = matrix(projected, OP, "projected")?;
    if z_rows != rows || z_start + d_inner > stride {
        return Err(KernelError::Shape {
            op: OP,
            tensor: "projected",
            expected: format!("[{rows}, at least {}]", z_start + d_inner),
            got: projected.dims().to_vec(),
        });
    }
    let (ys, zs) = (&*ys, &*zs);
    let mut out = vec![0.0; rows * d_inner];
    out.par_chunks_mut(ROWS_PER_TASK * d_inner).enumerate().for_each(|(index, out)| {
        let first = index * ROWS_PER_TASK;
        let y = &ys[first * d_inner..first * d_inner + out.len()];
        some_rows((y, &zs[first * stride + z_start..], stride, d_inner, norm, out));
    });
    Ok(Tensor::from_vec(out, (rows, d_inner), y.device())?)
}

/// Rows of y, the gate from its first value on, the gate's stride, the width, the norm, and where results go.
type Rows<'a> = (&'a [f32], &'a [f32], usize, usize, Option<(&'a [f32], GatedNorm)>, &'a mut [f32]);

vectorised! {
    fn some_rows(rows: Rows<'_>) {
        let (y, z, stride, d_inner, norm, out) = rows;
        for (row, (y, out)) in y.chunks_exact(d_inner).zip(out.chunks_exact_mut(d_inner)).enumerate() {
            let z = &z[row * stride..][..d_inner];
            match norm {
                None => gate_row(y, z, out),
                Some((weight, norm)) => norm_row(y, z, weight, norm, out),
            }
        }
    }
}

/// The matrix from a row on, its columns, first columns of value and gate, their width, and where results go.
type UnitRows<'a> = (&'a [f32], usize, usize, usize, usize, &'a mut [f32]);

vectorised! {
    fn unit_rows(rows: UnitRows<'_>) {
        let (x, columns, value_start, gate_start, width, out) = rows;
        for (x, out) in x.chunks_exact(columns).zip(out.chunks_exact_mut(width)) {
            gate_row(&x[value_start..][..width], &x[gate_start..][..width], out);
        }
    }
}

#[inline(always)]
fn norm_row(y: &[f32], z: &[f32], weight: &[f32], norm: GatedNorm, out: &mut [f32]) {
    let width = y.len() / norm.groups;
    match norm.order {
        GateOrder::GateFirst => {
            gate_row(y, z, out);
            for (out, weight) in out.chunks_exact_mut(width).zip(weight.chunks_exact(width)) {
                let scale = rms_scale(out, norm.eps);
                for (out, weight) in out.iter_mut().zip(weight) {
                    *out = *out * scale * weight;
                }
            }
        }
        GateOrder::NormFirst => {
            for ((out, y), weight) in
                out.chunks_exact_mut(width).zip(y.chunks_exact(width)).zip(weight.chunks_exact(width))
            {
                normalise(y, weight, norm.eps, out);
            }
            for (out, z) in out.iter_mut().zip(z) {
                *out *= silu(*z);
            }
        }
    }
}

#[inline(always)]
fn gate_row(y: &[f32], z: &[f32], out: &mut [f32]) {
    for ((out, y), z) in out.iter_mut().zip(y).zip(z) {
        *out = y * silu(*z);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_gate_is_a_product_with_silu() {
        let y = Tensor::new(&[[2.0_f32, 3.0]], &candle_core::Device::Cpu).unwrap();
        let projected = Tensor::new(&[[9.0_f32, 0.0, 100.0]], &candle_core::Device::Cpu).unwrap();
        assert_eq!(gate(&y, &projected, 1).unwrap().to_vec2::<f32>().unwrap(), [[0.0, 300.0]]);
    }
}
