//! The definition: every segment's inputs with what came before them, in float64.

use candle_core::Tensor;
use ssm_kernels::ops::ConvInput;

/// `y[t, c] = silu(bias[c] + sum_k weight[k, c] * x[t - d_conv + 1 + k, c])`, the sum alone without `silu`, and the last `d_conv` inputs of each segment:
/// `causal_conv1d_ref` of Dao-AILab/causal-conv1d, token-major. Inputs before a segment come from its parent, from
/// `initial`, or are zero.
///
/// # Shapes
/// - as [`ConvInput`]; `y`: `[tokens, channels]`; states: `[segments, channels, d_conv]`
pub(crate) fn causal_conv1d(input: &ConvInput<'_>) -> (Tensor, Tensor) {
    let x = input.x.to_vec2::<f32>().unwrap();
    let weight = input.weight.to_vec2::<f32>().unwrap();
    let bias = input.bias.to_vec1::<f32>().unwrap();
    let (d_conv, channels) = (weight.len(), bias.len());
    let initial = input.initial.map(|initial| initial.to_vec3::<f32>().unwrap());
    let mut before: Vec<Vec<Vec<f32>>> = Vec::new();
    let (mut y, mut states) = (Vec::new(), Vec::new());
    for segment in 0..input.segments.len() {
        // All inputs that this segment has seen before its first token, one list per channel, oldest first.
        let mut seen: Vec<Vec<f32>> = match (input.segments.parent(segment), &initial) {
            (Some(parent), _) => before[parent].clone(),
            (None, Some(initial)) => initial[segment].clone(),
            (None, None) => vec![vec![0.0; d_conv]; channels],
        };
        for row in input.segments.rows(segment) {
            for channel in 0..channels {
                seen[channel].push(x[row][input.columns.start + channel]);
                let newest = seen[channel].len();
                let sum: f64 = (0..d_conv)
                    .map(|k| f64::from(weight[k][channel]) * f64::from(seen[channel][newest - d_conv + k]))
                    .sum::<f64>()
                    + f64::from(bias[channel]);
                let activated = if input.silu { sum / (1.0 + (-sum).exp()) } else { sum };
                y.push(activated as f32);
            }
        }
        for channel in &seen {
            states.extend_from_slice(&channel[channel.len() - d_conv..]);
        }
        before.push(seen);
    }
    let device = input.x.device();
    (
        Tensor::from_vec(y, (x.len(), channels), device).unwrap(),
        Tensor::from_vec(states, (input.segments.len(), channels, d_conv), device).unwrap(),
    )
}
