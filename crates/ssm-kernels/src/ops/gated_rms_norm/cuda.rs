use candle_core::Tensor;

use super::{GateOrder, GatedNorm, OP};
use crate::cuda::{Arg, Gpu, Image, RowShape, image, is_wide, rows_of, suffix};
use crate::error::{KernelError, expect_shape};

static KERNELS: Image = image!("gated_rms_norm");

pub(super) fn gate(y: &Tensor, projected: &Tensor, z_start: usize) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(y, "gate")?;
    let (rows, d_inner, ld_y) = rows_of(y, "gate", "y")?;
    let z = projected.narrow(1, z_start, d_inner)?;
    let (_, _, ld_z) = rows_of(&z, "gate", "projected")?;
    let out = gpu.empty((rows, d_inner), y.dtype())?;
    let args = [
        gpu.tensor(y)?,
        Arg::long(ld_y),
        gpu.tensor(&z)?,
        Arg::long(ld_z),
        gpu.tensor(&out)?,
        Arg::int(rows),
        Arg::int(d_inner),
    ];
    let wide = is_wide(&[d_inner, ld_y, ld_z], &args);
    let name = format!("gate_{}{}", if wide { "" } else { "any_" }, suffix(y.dtype(), "gate")?);
    gpu.launch(&KERNELS, &name, RowShape::striding(d_inner, wide).grid(rows), &args)?;
    Ok(out)
}

pub(super) fn gated_rms_norm(
    y: &Tensor,
    projected: &Tensor,
    z_start: usize,
    weight: &Tensor,
    norm: GatedNorm,
) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(y, OP)?;
    let (rows, d_inner, ld_y) = rows_of(y, OP, "y")?;
    expect_shape(OP, "projected", &[projected.dim(0)?], &[rows])?;
    let z = projected.narrow(1, z_start, d_inner)?;
    let (_, _, ld_z) = rows_of(&z, OP, "projected")?;
    let out = gpu.empty((rows, d_inner), y.dtype())?;
    let args = [
        gpu.tensor(y)?,
        Arg::long(ld_y),
        gpu.tensor(&z)?,
        Arg::long(ld_z),
        gpu.float32(weight, OP, "weight")?,
        gpu.tensor(&out)?,
        Arg::int(rows),
        Arg::int(d_inner),
        Arg::int(norm.groups),
        Arg::Float(norm.eps),
        Arg::int(usize::from(norm.order == GateOrder::GateFirst)),
    ];
    let width = d_inner / norm.groups;
    let dtype = suffix(y.dtype(), OP)?;
    let fast = RowShape::in_registers(width).filter(|_| is_wide(&[width, ld_y, ld_z], &args));
    let (name, shape) = match fast {
        Some(shape) => (format!("gated_rms_norm_v{}_{dtype}", shape.vectors), shape),
        None => (format!("gated_rms_norm_any_{dtype}"), RowShape::whole_block()),
    };
    gpu.launch(&KERNELS, &name, shape.grid(rows * norm.groups), &args)?;
    Ok(out)
}
