//! The definition: one token after the other, in float64.

use candle_core::Tensor;
use ssm_kernels::ops::SelectiveScanInput;

/// What the scan returns, all of it.
pub(crate) struct Scanned {
    /// `[tokens, d_inner]`
    pub(crate) gated: Tensor,
    /// `[tokens, d_inner]`
    pub(crate) y: Tensor,
    /// `[tokens, d_inner]`
    pub(crate) dt: Tensor,
    /// `[segments, d_inner, d_state]`
    pub(crate) states: Tensor,
}

/// `dt = softplus(dt_raw + dt_bias)` and `s = dt * dt_factor`; then `h_t = exp(s_t A) h_{t-1} + s_t B_t x_t`,
/// `y_t = C_t h_t + D x_t` and `y_t * silu(z_t)`, per channel: `selective_scan_ref` of `mamba_ssm` (Gu & Dao 2023,
/// <https://arxiv.org/abs/2312.00752>, eq. 2 with the discretisation of section 3.3).
pub(crate) fn selective_scan(input: &SelectiveScanInput<'_>) -> Scanned {
    let rows = |x: &Tensor| x.to_vec2::<f32>().unwrap();
    let (x, dt_raw, a) = (rows(input.x), rows(input.dt_raw), rows(input.a));
    let (projected, gate) = (rows(input.projected), rows(input.gate));
    let (dt_bias, d) = (input.dt_bias.to_vec1::<f32>().unwrap(), input.d.to_vec1::<f32>().unwrap());
    let factor = input.dt_factor.map(rows);
    let initial = input.initial.map(|initial| initial.to_vec3::<f32>().unwrap());
    let (d_state, d_inner) = (a.len(), d.len());
    let mut finals: Vec<Vec<Vec<f64>>> = Vec::new();
    let (mut gated, mut y, mut dts) = (Vec::new(), Vec::new(), Vec::new());
    for segment in 0..input.segments.len() {
        let mut h: Vec<Vec<f64>> = match (input.segments.parent(segment), &initial) {
            (Some(parent), _) => finals[parent].clone(),
            (None, Some(initial)) => {
                initial[segment].iter().map(|h| h.iter().map(|h| f64::from(*h)).collect()).collect()
            }
            (None, None) => vec![vec![0.0; d_state]; d_inner],
        };
        for t in input.segments.rows(segment) {
            for c in 0..d_inner {
                let dt = (f64::from(dt_raw[t][c]) + f64::from(dt_bias[c])).exp().ln_1p();
                let s = dt * factor.as_ref().map_or(1.0, |factor| f64::from(factor[t][0]));
                let x = f64::from(x[t][c]);
                let mut sum = f64::from(d[c]) * x;
                for n in 0..d_state {
                    let b = f64::from(projected[t][input.b_start + n]);
                    h[c][n] = (s * f64::from(a[n][c])).exp() * h[c][n] + s * b * x;
                    sum += f64::from(projected[t][input.c_start + n]) * h[c][n];
                }
                let z = f64::from(gate[t][input.z_start + c]);
                gated.push((sum * z / (1.0 + (-z).exp())) as f32);
                y.push(sum as f32);
                dts.push(dt as f32);
            }
        }
        finals.push(h);
    }
    let states: Vec<f32> = finals.iter().flatten().flatten().map(|h| *h as f32).collect();
    let per_token = |values: Vec<f32>| Tensor::from_vec(values, (x.len(), d_inner), input.x.device()).unwrap();
    Scanned {
        gated: per_token(gated),
        y: per_token(y),
        dt: per_token(dts),
        states: Tensor::from_vec(states, (input.segments.len(), d_inner, d_state), input.x.device()).unwrap(),
    }
}
