//! Depthwise causal convolution over each segment, then SiLU or nothing.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use std::ops::Range;

use candle_core::{Device, Tensor};

use crate::error::{KernelError, expect_shape, unsupported};
use crate::host::{F32View, matrix};
use crate::segments::Segments;

const OP: &str = "causal_conv1d";

/// Arguments of [`causal_conv1d`].
pub struct ConvInput<'a> {
    /// `[tokens, width]`; the channels to convolve are read in place.
    pub x: &'a Tensor,
    /// Which columns of `x` are convolved: `channels` of them.
    pub columns: Range<usize>,
    /// `[d_conv, channels]`: the checkpoint's `[channels, 1, d_conv]` transposed, last row for the newest token.
    pub weight: &'a Tensor,
    /// `[channels]`.
    pub bias: &'a Tensor,
    /// Which rows belong together.
    pub segments: &'a Segments,
    /// `[segments, channels, d_conv]`: the last inputs before each root segment, oldest first; zeros where absent.
    pub initial: Option<&'a Tensor>,
    /// Whether SiLU follows, as in a Mamba; attention convolves its queries, keys and values without it.
    pub silu: bool,
    /// Whether to return the state after each segment.
    pub want_states: bool,
}

/// Result of [`causal_conv1d`].
pub struct ConvOutput {
    /// `[tokens, channels]`.
    pub y: Tensor,
    /// `[segments, channels, d_conv]`: the last inputs of each segment, oldest first, where asked for.
    pub states: Option<Tensor>,
}

/// `y[t, c] = silu(bias[c] + sum_k weight[k, c] * x[t - d_conv + 1 + k, c])`, or the sum without `silu`, where rows before a
/// segment come from its parent, from `initial`, or are zero. As `causal_conv1d_fn` of Dao-AILab/causal-conv1d, token-major.
///
/// # Errors
/// Shapes, dtypes or devices that do not fit.
pub fn causal_conv1d(input: &ConvInput<'_>) -> Result<ConvOutput, KernelError> {
    match input.x.device() {
        Device::Cpu => on_cpu(input),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::causal_conv1d(input),
        other => Err(unsupported(OP, other, input.x.dtype())),
    }
}

fn on_cpu(input: &ConvInput<'_>) -> Result<ConvOutput, KernelError> {
    let (d_conv, channels) = input.weight.dims2()?;
    let (x, rows, stride) = matrix(input.x, OP, "x")?;
    if input.columns.len() != channels || input.columns.end > stride || rows != input.segments.n_tokens() {
        return Err(KernelError::Shape {
            op: OP,
            tensor: "x",
            expected: format!("[{}, at least {}]", input.segments.n_tokens(), input.columns.start + channels),
            got: input.x.dims().to_vec(),
        });
    }
    expect_shape(OP, "bias", input.bias.dims(), &[channels])?;
    let initial = match input.initial {
        Some(initial) => {
            expect_shape(OP, "initial", initial.dims(), &[input.segments.len(), channels, d_conv])?;
            Some(F32View::new(initial, OP, "initial")?)
        }
        None => None,
    };
    let (weight, bias) = (F32View::new(input.weight, OP, "weight")?, F32View::new(input.bias, OP, "bias")?);
    let conv = cpu::Conv {
        x: &x,
        stride,
        start: input.columns.start,
        channels,
        taps: d_conv,
        weight: &weight,
        bias: &bias,
        silu: input.silu,
        segments: input.segments,
    };
    let histories = conv.histories(initial.as_deref());
    let device = input.x.device();
    Ok(ConvOutput {
        y: Tensor::from_vec(conv.run(&histories), (rows, channels), device)?,
        states: if input.want_states {
            Some(Tensor::from_vec(conv.states(&histories), (input.segments.len(), channels, d_conv), device)?)
        } else {
            None
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Values, bits};
    use super::*;

    #[test]
    fn a_segment_alone_equals_the_same_segment_packed() {
        let mut values = Values(8);
        let segments = Segments::independent(&[5, 70, 2]);
        let x = values.tensor(&[77, 24], -2.0, 2.0);
        let (weight, bias) = (values.tensor(&[4, 24], -1.0, 1.0), values.tensor(&[24], -1.0, 1.0));
        let run = |x: &Tensor, segments: &Segments| {
            causal_conv1d(&ConvInput {
                x,
                columns: 0..24,
                weight: &weight,
                bias: &bias,
                segments,
                initial: None,
                silu: true,
                want_states: false,
            })
            .unwrap()
            .y
        };
        let packed = run(&x, &segments);
        let alone = run(&x.narrow(0, 5, 70).unwrap(), &Segments::independent(&[70]));
        assert_eq!(bits(&packed.narrow(0, 5, 70).unwrap()), bits(&alone));
    }
}
