//! The recurrence of Mamba-2 (state space duality): one decay per head, computed by chunks.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(feature = "cuda", test))]
mod schedule;

use candle_core::{Device, Tensor};

use crate::error::{KernelError, expect_shape, unsupported};
use crate::host::{F32View, matrix};
use crate::segments::Segments;

const OP: &str = "ssd";

/// Arguments of [`ssd`].
pub struct SsdInput<'a> {
    /// `[tokens, nheads * headdim + 2 * ngroups * d_state]`: the convolved `x`, `B` and `C`, side by side.
    pub xbc: &'a Tensor,
    /// `[tokens, nheads]`: step sizes after bias and softplus.
    pub dt: &'a Tensor,
    /// `[nheads]`: `-exp(A_log)`.
    pub a: &'a Tensor,
    /// `[nheads]`: the skip.
    pub d: &'a Tensor,
    /// Channels per head.
    pub headdim: usize,
    /// Groups of heads that share B and C.
    pub ngroups: usize,
    /// States per channel.
    pub d_state: usize,
    /// Which rows belong together.
    pub segments: &'a Segments,
    /// `[segments, nheads, headdim, d_state]`: state before each root segment; zeros where absent.
    pub initial: Option<&'a Tensor>,
    /// Whether to return the state after each segment.
    pub want_states: bool,
}

/// Result of [`ssd`].
pub struct SsdOutput {
    /// `[tokens, d_inner]`: C h + D x, before any gate.
    pub y: Tensor,
    /// State after the last token of each segment, where it was asked for.
    pub states: Option<Tensor>,
}

/// `h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T`, `y_t = h_t C_t + D x_t`, per head.
///
/// Computed by the chunked algorithm of Dao & Gu 2024 (section 6; `ssd_minimal_discrete` of `mamba_ssm`): inside a chunk as
/// a masked product, between chunks through the state. Chunks of 64 tokens are counted from each segment's start, so a
/// result does not depend on what stands beside the segment. States have shape `[segments, nheads, headdim, d_state]`.
///
/// # Errors
/// Shapes, dtypes or devices that do not fit.
pub fn ssd(input: &SsdInput<'_>) -> Result<SsdOutput, KernelError> {
    match input.xbc.device() {
        Device::Cpu => on_cpu(input),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::ssd(input),
        other => Err(unsupported(OP, other, input.xbc.dtype())),
    }
}

fn on_cpu(input: &SsdInput<'_>) -> Result<SsdOutput, KernelError> {
    let (xbc, rows, width) = matrix(input.xbc, OP, "xbc")?;
    let (dt, _, nheads) = matrix(input.dt, OP, "dt")?;
    let d_inner = nheads * input.headdim;
    expect_shape(OP, "xbc", &[rows, width], &[input.segments.n_tokens(), d_inner + 2 * input.ngroups * input.d_state])?;
    expect_shape(OP, "dt", input.dt.dims(), &[rows, nheads])?;
    expect_shape(OP, "a", input.a.dims(), &[nheads])?;
    expect_shape(OP, "d", input.d.dims(), &[nheads])?;
    if !nheads.is_multiple_of(input.ngroups) {
        return Err(KernelError::Shape {
            op: OP,
            tensor: "dt",
            expected: format!("a number of heads that {} groups divide", input.ngroups),
            got: input.dt.dims().to_vec(),
        });
    }
    let state_shape = [input.segments.len(), nheads, input.headdim, input.d_state];
    let initial = match input.initial {
        Some(initial) => {
            expect_shape(OP, "initial", initial.dims(), &state_shape)?;
            Some(F32View::new(initial, OP, "initial")?)
        }
        None => None,
    };
    let (a, d) = (F32View::new(input.a, OP, "a")?, F32View::new(input.d, OP, "d")?);
    let scan = cpu::Ssd {
        xbc: &xbc,
        width,
        dt: &dt,
        a: &a,
        d: &d,
        nheads,
        headdim: input.headdim,
        ngroups: input.ngroups,
        d_state: input.d_state,
        segments: input.segments,
        initial: initial.as_deref(),
    };
    let (y, states) = scan.run(input.want_states);
    let device = input.xbc.device();
    Ok(SsdOutput {
        y: Tensor::from_vec(y, (rows, d_inner), device)?,
        states: states.map(|states| Tensor::from_vec(states, &state_shape[..], device)).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Values, bits};
    use super::*;

    #[test]
    fn a_segment_alone_equals_the_same_segment_packed() {
        let mut values = Values(11);
        let (nheads, headdim, d_state) = (4, 32, 16);
        let xbc = values.tensor(&[211, nheads * headdim + 2 * d_state], -1.0, 1.0);
        let dt = values.tensor(&[211, nheads], 0.001, 0.5);
        let (a, d) = (values.tensor(&[nheads], -16.0, -0.1), values.tensor(&[nheads], -1.0, 1.0));
        let run = |start: usize, segments: &Segments| {
            let (xbc, dt) =
                (xbc.narrow(0, start, segments.n_tokens()).unwrap(), dt.narrow(0, start, segments.n_tokens()).unwrap());
            ssd(&SsdInput {
                xbc: &xbc,
                dt: &dt,
                a: &a,
                d: &d,
                headdim,
                ngroups: 1,
                d_state,
                segments,
                initial: None,
                want_states: false,
            })
            .unwrap()
            .y
        };
        let packed = run(0, &Segments::independent(&[7, 133, 71]));
        assert_eq!(bits(&packed.narrow(0, 7, 133).unwrap()), bits(&run(7, &Segments::independent(&[133]))));
        assert_eq!(bits(&packed.narrow(0, 140, 71).unwrap()), bits(&run(140, &Segments::independent(&[71]))));
    }
}
