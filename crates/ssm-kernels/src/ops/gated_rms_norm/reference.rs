//! The definitions, row by row in float64.

use candle_core::Tensor;
use ssm_kernels::ops::{GateOrder, GatedNorm};

/// `y * silu(z)` with `silu(z) = z / (1 + e^-z)`.
///
/// # Shapes
/// - `y` and result: `[tokens, d_inner]`; `z`: columns `z_start..z_start + d_inner` of `projected`
pub(crate) fn gate(y: &Tensor, projected: &Tensor, z_start: usize) -> Tensor {
    rows(y, projected, z_start, |y, z| y.iter().zip(z).map(|(y, z)| y * silu(*z)).collect())
}

/// `projected[:, value_start..] * silu(projected[:, gate_start..])`, `width` columns each.
///
/// # Shapes
/// - `projected`: `[tokens, columns]`; result: `[tokens, width]`
pub(crate) fn gated_unit(projected: &Tensor, value_start: usize, gate_start: usize, width: usize) -> Tensor {
    gate(&projected.narrow(1, value_start, width).unwrap(), projected, gate_start)
}

/// `RMSNormGated` of `mamba_ssm` (`rms_norm_ref`): with `u = y * silu(z)` and `s = 1` where the gate comes first, `u = y` and
/// `s = silu(z)` where the norm does, `u / sqrt(mean(u^2) + eps) * weight * s`, the mean over each group of channels.
///
/// # Shapes
/// - as [`gate`]; `weight`: `[d_inner]`
pub(crate) fn gated_rms_norm(
    y: &Tensor,
    projected: &Tensor,
    z_start: usize,
    weight: &Tensor,
    norm: GatedNorm,
) -> Tensor {
    let weight = weight.to_vec1::<f32>().unwrap();
    let width = weight.len() / norm.groups;
    rows(y, projected, z_start, |y, z| {
        let gate_first = norm.order == GateOrder::GateFirst;
        let input: Vec<f64> = y.iter().zip(z).map(|(y, z)| if gate_first { y * silu(*z) } else { *y }).collect();
        let mut out = Vec::new();
        for (channel, value) in input.iter().enumerate() {
            let group = channel / width;
            let squares: f64 = input[group * width..(group + 1) * width].iter().map(|u| u * u).sum();
            let normed = value / (squares / width as f64 + f64::from(norm.eps)).sqrt() * f64::from(weight[channel]);
            out.push(if gate_first { normed } else { normed * silu(z[channel]) });
        }
        out
    })
}

fn silu(z: f64) -> f64 {
    z / (1.0 + (-z).exp())
}

/// A function of every row of `y` and its gate.
fn rows(y: &Tensor, projected: &Tensor, z_start: usize, of: impl Fn(&[f64], &[f64]) -> Vec<f64>) -> Tensor {
    let exact = |row: &[f32]| row.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
    let mut out = Vec::new();
    for (y, projected) in y.to_vec2::<f32>().unwrap().iter().zip(&projected.to_vec2::<f32>().unwrap()) {
        let z = &projected[z_start..z_start + y.len()];
        out.extend(of(&exact(y), &exact(z)).into_iter().map(|value| value as f32));
    }
    Tensor::from_vec(out, y.dims(), y.device()).unwrap()
}
