//! The definition: one token of one sequence through the whole model, in float64.

use candle_core::{DType, Device, Tensor};
use ssm_kernels::ops::decode::{DecoderWeights, Mamba2Weights, MambaWeights, MixerState, MixerWeights};

/// A sequence and the weights that read it.
pub(crate) struct Sequence<'a> {
    weights: &'a DecoderWeights,
    /// Per layer: the last inputs of the convolution, one list per channel, oldest first, and the state of the scan.
    states: Vec<(Vec<Vec<f64>>, Vec<f64>)>,
}

impl<'a> Sequence<'a> {
    /// The sequence `index` of `states`, one entry per layer.
    pub(crate) fn new(weights: &'a DecoderWeights, states: &[MixerState], index: usize) -> Self {
        let state = |state: &MixerState| {
            let conv = numbers(&state.conv.narrow(0, index, 1).unwrap());
            let taps = state.conv.dim(2).unwrap();
            (conv.chunks(taps).map(<[f64]>::to_vec).collect(), numbers(&state.ssm.narrow(0, index, 1).unwrap()))
        };
        Self { weights, states: states.iter().map(state).collect() }
    }

    /// Logits after `token`: `x + mixer(norm(x))` layer by layer, then norm and head.
    pub(crate) fn step(&mut self, token: u32) -> Vec<f64> {
        let DecoderWeights { embedding, embedding_factor, layers, final_norm, lm_head, norm_eps } = self.weights;
        let row = numbers(&embedding.narrow(0, token as usize, 1).unwrap());
        let mut x: Vec<f64> = row.iter().map(|value| value * embedding_factor).collect();
        for (layer, (conv, ssm)) in layers.iter().zip(&mut self.states) {
            let normed = rms_norm(&x, &layer.norm, *norm_eps);
            let mixed = match &layer.mixer {
                MixerWeights::Mamba(mixer) => mamba(mixer, &normed, conv, ssm),
                MixerWeights::Mamba2(mixer) => mamba2(mixer, &normed, conv, ssm),
            };
            x.iter_mut().zip(mixed).for_each(|(x, mixed)| *x += mixed);
        }
        product(lm_head, &rms_norm(&x, final_norm, *norm_eps))
    }
}

/// <https://arxiv.org/abs/2312.00752>, section 3: `h = exp(dt A) h + dt x B`, `y = (h C + D x) silu(z)`.
fn mamba(mixer: &MambaWeights, normed: &[f64], conv: &mut [Vec<f64>], h: &mut [f64]) -> Vec<f64> {
    let (a, d, dt_bias) = (numbers(&mixer.a), numbers(&mixer.d), numbers(&mixer.dt_bias));
    let d_inner = d.len();
    let (d_state, dt_rank) = (a.len() / d_inner, mixer.dt_proj.dim(1).unwrap());
    let projected = product(&mixer.in_proj, normed);
    let x = convolved(&projected[..d_inner], &mixer.conv_weight, &mixer.conv_bias, conv);
    let maps = product(&mixer.x_proj, &x);
    let dt = product(&mixer.dt_proj, &maps[..dt_rank]);
    let (b, c) = maps[dt_rank..].split_at(d_state);
    let y: Vec<f64> = (0..d_inner)
        .map(|channel| {
            let dt = softplus(dt[channel] + dt_bias[channel]);
            let mut y = d[channel] * x[channel];
            for n in 0..d_state {
                let h = &mut h[channel * d_state + n];
                *h = (dt * a[n * d_inner + channel]).exp() * *h + dt * x[channel] * b[n];
                y += *h * c[n];
            }
            y * silu(projected[d_inner + channel])
        })
        .collect();
    product(&mixer.out_proj, &y)
}

/// <https://arxiv.org/abs/2405.21060>, section 7: the same with one A per head, B and C per group, and a norm after the gate.
fn mamba2(mixer: &Mamba2Weights, normed: &[f64], conv: &mut [Vec<f64>], h: &mut [f64]) -> Vec<f64> {
    let (a, d, dt_bias) = (numbers(&mixer.a), numbers(&mixer.d), numbers(&mixer.dt_bias));
    let Mamba2Weights { headdim, ngroups, d_state, dt_limit, .. } = *mixer;
    let (nheads, d_inner) = (a.len(), a.len() * headdim);
    let projected = product(&mixer.in_proj, normed);
    let conv_dim = d_inner + 2 * ngroups * d_state;
    let xbc = convolved(&projected[d_inner..d_inner + conv_dim], &mixer.conv_weight, &mixer.conv_bias, conv);
    let gated: Vec<f64> = (0..d_inner)
        .map(|channel| {
            let head = channel / headdim;
            let group = head / (nheads / ngroups);
            let dt = softplus(projected[d_inner + conv_dim + head] + dt_bias[head]);
            let dt = dt.clamp(f64::from(dt_limit.0), f64::from(dt_limit.1));
            let (b, c) = (&xbc[d_inner + group * d_state..], &xbc[d_inner + (ngroups + group) * d_state..]);
            let mut y = d[head] * xbc[channel];
            for n in 0..d_state {
                let h = &mut h[channel * d_state + n];
                *h = (dt * a[head]).exp() * *h + dt * xbc[channel] * b[n];
                y += *h * c[n];
            }
            y * silu(projected[channel])
        })
        .collect();
    product(&mixer.out_proj, &rms_norm(&gated, &mixer.gated_norm, mixer.gated_norm_eps))
}

/// The causal convolution of the newest inputs with those before them, after silu.
fn convolved(newest: &[f64], weight: &Tensor, bias: &Tensor, before: &mut [Vec<f64>]) -> Vec<f64> {
    let (weight, bias) = (numbers(weight), numbers(bias));
    let channels = newest.len();
    before
        .iter_mut()
        .enumerate()
        .map(|(channel, inputs)| {
            inputs.remove(0);
            inputs.push(newest[channel]);
            let taps = inputs.iter().enumerate().map(|(tap, input)| weight[tap * channels + channel] * input);
            silu(taps.sum::<f64>() + bias[channel])
        })
        .collect()
}

fn rms_norm(x: &[f64], weight: &Tensor, eps: f32) -> Vec<f64> {
    let mean = x.iter().map(|value| value * value).sum::<f64>() / x.len() as f64;
    x.iter().zip(numbers(weight)).map(|(value, weight)| value / (mean + f64::from(eps)).sqrt() * weight).collect()
}

/// `W x`.
fn product(weight: &Tensor, x: &[f64]) -> Vec<f64> {
    numbers(weight).chunks(x.len()).map(|row| row.iter().zip(x).map(|(weight, x)| weight * x).sum()).collect()
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}

fn numbers(x: &Tensor) -> Vec<f64> {
    let x = x.to_device(&Device::Cpu).and_then(|x| x.to_dtype(DType::F64)?.contiguous()?.flatten_all()).unwrap();
    x.to_vec1().unwrap()
}
