//! The recurrence of Mamba: one decay per channel and state.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};

use super::{gate, softplus};
use crate::error::{KernelError, expect_shape, unsupported};
use crate::host::{F32View, matrix};
use crate::segments::Segments;

const OP: &str = "selective_scan";

/// Arguments of [`selective_scan`].
pub struct SelectiveScanInput<'a> {
    /// `[tokens, d_inner]`: the convolved, activated input.
    pub x: &'a Tensor,
    /// `[tokens, d_inner]`: step sizes before bias and softplus.
    pub dt_raw: &'a Tensor,
    /// `[d_inner]`, float32.
    pub dt_bias: &'a Tensor,
    /// `[tokens, 1]`, float32: factor on the step sizes after softplus, in the decay and in what is written; 1 where absent.
    pub dt_factor: Option<&'a Tensor>,
    /// `[d_state, d_inner]`: `-exp(A_log)` transposed, so that channels are contiguous.
    pub a: &'a Tensor,
    /// `[tokens, width]`: holds B and C, read in place.
    pub projected: &'a Tensor,
    /// First column of B (`d_state` wide) in `projected`.
    pub b_start: usize,
    /// First column of C (`d_state` wide) in `projected`.
    pub c_start: usize,
    /// `[d_inner]`: the skip.
    pub d: &'a Tensor,
    /// `[tokens, width]`: holds the gate z, read in place.
    pub gate: &'a Tensor,
    /// First column of z (`d_inner` wide) in `gate`.
    pub z_start: usize,
    /// Which rows belong together.
    pub segments: &'a Segments,
    /// `[segments, d_inner, d_state]`: state before each root segment; zeros where absent.
    pub initial: Option<&'a Tensor>,
    /// Whether to return the state after each segment.
    pub want_states: bool,
    /// Whether to return the output before the gate.
    pub want_y: bool,
    /// Whether to return the step sizes.
    pub want_dt: bool,
}

/// Result of [`selective_scan`].
pub struct SelectiveScanOutput {
    /// `[tokens, d_inner]`: `y * silu(z)`.
    pub gated: Tensor,
    /// `[tokens, d_inner]`: C h + D x, where asked for.
    pub y: Option<Tensor>,
    /// `[tokens, d_inner]`, float32: step sizes after bias and softplus, without the factor, where asked for.
    pub dt: Option<Tensor>,
    /// `[segments, d_inner, d_state]`, float32: state after the last token of each segment, where asked for.
    pub states: Option<Tensor>,
}

/// `dt = softplus(dt_raw + dt_bias)`, `h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t`, `y_t = C_t h_t + D x_t`, per channel (Gu &
/// Dao 2023, eq. 2 with the discretisation of section 3.3; `selective_scan_ref` in mamba_ssm), then gated by `silu(z)`.
///
/// # Errors
/// Shapes, dtypes or devices that do not fit.
pub fn selective_scan(input: &SelectiveScanInput<'_>) -> Result<SelectiveScanOutput, KernelError> {
    match input.x.device() {
        Device::Cpu => on_cpu(input),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::selective_scan(input),
        other => Err(unsupported(OP, other, input.x.dtype())),
    }
}

fn on_cpu(input: &SelectiveScanInput<'_>) -> Result<SelectiveScanOutput, KernelError> {
    let dt = softplus(input.dt_raw, 0, input.dt_bias, (0.0, f32::INFINITY))?;
    let steps = input.dt_factor.map(|factor| dt.broadcast_mul(factor)).transpose()?;
    let (y, states) = recurrence(&Recurrence {
        x: input.x,
        dt: steps.as_ref().unwrap_or(&dt),
        a: input.a,
        projected: input.projected,
        b_start: input.b_start,
        c_start: input.c_start,
        d: input.d,
        segments: input.segments,
        initial: input.initial,
        want_states: input.want_states,
    })?;
    let gated = gate(&y, input.gate, input.z_start)?;
    Ok(SelectiveScanOutput { gated, y: input.want_y.then_some(y), dt: input.want_dt.then_some(dt), states })
}

/// Arguments of [`recurrence`], named as in [`SelectiveScanInput`].
struct Recurrence<'a> {
    x: &'a Tensor,
    /// `[tokens, d_inner]`: step sizes after bias and softplus.
    dt: &'a Tensor,
    a: &'a Tensor,
    projected: &'a Tensor,
    b_start: usize,
    c_start: usize,
    d: &'a Tensor,
    segments: &'a Segments,
    initial: Option<&'a Tensor>,
    want_states: bool,
}

/// The scan itself on the CPU: `(y, states)`.
fn recurrence(input: &Recurrence<'_>) -> Result<(Tensor, Option<Tensor>), KernelError> {
    let (x, rows, d_inner) = matrix(input.x, OP, "x")?;
    let (a, d_state, _) = matrix(input.a, OP, "a")?;
    let (projected, _, stride) = matrix(input.projected, OP, "projected")?;
    expect_shape(OP, "x", &[rows], &[input.segments.n_tokens()])?;
    expect_shape(OP, "a", input.a.dims(), &[d_state, d_inner])?;
    expect_shape(OP, "dt", input.dt.dims(), &[rows, d_inner])?;
    expect_shape(OP, "d", input.d.dims(), &[d_inner])?;
    let reach = d_state + input.b_start.max(input.c_start);
    expect_shape(OP, "projected", input.projected.dims(), &[rows, stride.max(reach)])?;
    let n_segments = input.segments.len();
    let initial = match input.initial {
        Some(initial) => {
            expect_shape(OP, "initial", initial.dims(), &[n_segments, d_inner, d_state])?;
            Some(F32View::new(initial, OP, "initial")?)
        }
        None => None,
    };
    let (dt, d) = (F32View::new(input.dt, OP, "dt")?, F32View::new(input.d, OP, "d")?);
    let scan = cpu::Scan {
        x: &x,
        dt: &dt,
        a: &a,
        projected: &projected,
        stride,
        b_start: input.b_start,
        c_start: input.c_start,
        d: &d,
        d_inner,
        d_state,
        segments: input.segments,
        initial: initial.as_deref(),
    };
    let (y, states) = scan.run(input.want_states);
    let device = input.x.device();
    let states = states.map(|states| Tensor::from_vec(states, (n_segments, d_inner, d_state), device)).transpose()?;
    Ok((Tensor::from_vec(y, (rows, d_inner), device)?, states))
}
