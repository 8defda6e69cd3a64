//! The recurrence of Mamba: one decay per channel and state.

mod cpu;
#[cfg(test)]
mod reference;

use candle_core::Tensor;

use super::ScanOutput;
use crate::error::{KernelError, expect_shape};
use crate::host::{F32View, matrix};
use crate::segments::Segments;

/// Arguments of [`selective_scan`].
pub struct SelectiveScanInput<'a> {
    /// `[tokens, d_inner]`: the convolved, activated input.
    pub x: &'a Tensor,
    /// `[tokens, d_inner]`: step sizes after bias and softplus.
    pub dt: &'a Tensor,
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
    /// Which rows belong together.
    pub segments: &'a Segments,
    /// `[segments, d_inner, d_state]`: state before each root segment; zeros where absent.
    pub initial: Option<&'a Tensor>,
    /// Whether to return the state after each segment.
    pub want_states: bool,
}

/// `h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t`, `y_t = C_t h_t + D x_t`, per channel (Gu & Dao 2023, eq. 2 with the
/// discretisation of section 3.3; `selective_scan_ref` in mamba_ssm). States have shape `[segments, d_inner, d_state]`.
///
/// # Errors
/// Shapes that do not fit, or tensors that are not contiguous float32 in host memory.
pub fn selective_scan(input: &SelectiveScanInput<'_>) -> Result<ScanOutput, KernelError> {
    const OP: &str = "selective_scan";
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
    Ok(ScanOutput {
        y: Tensor::from_vec(y, (rows, d_inner), device)?,
        states: states.map(|states| Tensor::from_vec(states, (n_segments, d_inner, d_state), device)).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Values, assert_close, awkward_segments};
    use super::*;

    #[test]
    fn equals_the_reference_over_awkward_segments() {
        let mut values = Values(9);
        let widths = [(1, 1), (16, 16), (40, 16), (64, 8), (17, 5), (128, 16)];
        for (segments, (d_inner, d_state)) in awkward_segments().iter().zip(widths) {
            let rows = segments.n_tokens();
            let x = values.tensor(&[rows, d_inner], -2.0, 2.0);
            let dt = values.tensor(&[rows, d_inner], 0.001, 0.5);
            let a = values.tensor(&[d_state, d_inner], -16.0, -0.1);
            let projected = values.tensor(&[rows, 3 + 2 * d_state], -1.0, 1.0);
            let d = values.tensor(&[d_inner], -1.0, 1.0);
            let initial = values.tensor(&[segments.len(), d_inner, d_state], -1.0, 1.0);
            for initial in [None, Some(&initial)] {
                let input = SelectiveScanInput {
                    x: &x,
                    dt: &dt,
                    a: &a,
                    projected: &projected,
                    b_start: 3,
                    c_start: 3 + d_state,
                    d: &d,
                    segments,
                    initial,
                    want_states: true,
                };
                let (want, want_states) = reference::selective_scan(&input);
                let got = selective_scan(&input).unwrap();
                assert_close("y", &want, &got.y, 2e-6);
                assert_close("states", &want_states, &got.states.unwrap(), 2e-6);
            }
        }
    }
}
