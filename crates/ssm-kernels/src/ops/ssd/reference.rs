//! The definition: one token after the other, in float64.

use candle_core::Tensor;
use ssm_kernels::ops::SsdInput;

/// `h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T` and `y_t = h_t C_t + D x_t`, per head: the recurrence of Dao & Gu 2024
/// (<https://arxiv.org/abs/2405.21060>, section 3), as `selective_state_update_ref` of `mamba_ssm`. Returns `(y, states)`.
///
/// # Shapes
/// - as [`SsdInput`]; `y`: `[tokens, nheads * headdim]`; states: `[segments, nheads, headdim, d_state]`
pub(crate) fn ssd(input: &SsdInput<'_>) -> (Tensor, Tensor) {
    let xbc = input.xbc.to_vec2::<f32>().unwrap();
    let dt = input.dt.to_vec2::<f32>().unwrap();
    let (a, d) = (input.a.to_vec1::<f32>().unwrap(), input.d.to_vec1::<f32>().unwrap());
    let (nheads, headdim, d_state) = (a.len(), input.headdim, input.d_state);
    let d_inner = nheads * headdim;
    let initial = input.initial.map(|initial| initial.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    let per_segment = d_inner * d_state;
    let mut finals: Vec<Vec<f64>> = Vec::new();
    let mut y = Vec::new();
    for segment in 0..input.segments.len() {
        let mut h: Vec<f64> = match (input.segments.parent(segment), &initial) {
            (Some(parent), _) => finals[parent].clone(),
            (None, Some(initial)) => {
                initial[segment * per_segment..(segment + 1) * per_segment].iter().map(|h| f64::from(*h)).collect()
            }
            (None, None) => vec![0.0; per_segment],
        };
        for t in input.segments.rows(segment) {
            for channel in 0..d_inner {
                let head = channel / headdim;
                let group = head / (nheads / input.ngroups);
                let (dt, x) = (f64::from(dt[t][head]), f64::from(xbc[t][channel]));
                let decay = (dt * f64::from(a[head])).exp();
                let mut sum = f64::from(d[head]) * x;
                for n in 0..d_state {
                    let b = f64::from(xbc[t][d_inner + group * d_state + n]);
                    let c = f64::from(xbc[t][d_inner + (input.ngroups + group) * d_state + n]);
                    let h = &mut h[channel * d_state + n];
                    *h = decay * *h + dt * x * b;
                    sum += c * *h;
                }
                y.push(sum as f32);
            }
        }
        finals.push(h);
    }
    let states: Vec<f32> = finals.iter().flatten().map(|h| *h as f32).collect();
    let device = input.xbc.device();
    (
        Tensor::from_vec(y, (xbc.len(), d_inner), device).unwrap(),
        Tensor::from_vec(states, (input.segments.len(), nheads, headdim, d_state), device).unwrap(),
    )
}
