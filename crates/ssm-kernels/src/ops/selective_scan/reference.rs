use candle_core::Tensor;

use super::Recurrence;

/// The definition: one token after the other, in float64. Returns `(y, states)`.
pub(super) fn recurrence(input: &Recurrence<'_>) -> (Tensor, Tensor) {
    let x = input.x.to_vec2::<f32>().unwrap();
    let dt = input.dt.to_vec2::<f32>().unwrap();
    let a = input.a.to_vec2::<f32>().unwrap();
    let projected = input.projected.to_vec2::<f32>().unwrap();
    let d = input.d.to_vec1::<f32>().unwrap();
    let initial = input.initial.map(|initial| initial.to_vec3::<f32>().unwrap());
    let (d_state, d_inner) = (a.len(), d.len());
    let mut finals: Vec<Vec<Vec<f64>>> = Vec::new();
    let mut y = Vec::new();
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
                let (dt, x) = (f64::from(dt[t][c]), f64::from(x[t][c]));
                let mut sum = f64::from(d[c]) * x;
                for n in 0..d_state {
                    let b = f64::from(projected[t][input.b_start + n]);
                    h[c][n] = (dt * f64::from(a[n][c])).exp() * h[c][n] + dt * b * x;
                    sum += f64::from(projected[t][input.c_start + n]) * h[c][n];
                }
                y.push(sum as f32);
            }
        }
        finals.push(h);
    }
    let states: Vec<f32> = finals.iter().flatten().flatten().map(|h| *h as f32).collect();
    let device = input.x.device();
    (
        Tensor::from_vec(y, (x.len(), d_inner), device).unwrap(),
        Tensor::from_vec(states, (input.segments.len(), d_inner, d_state), device).unwrap(),
    )
}
