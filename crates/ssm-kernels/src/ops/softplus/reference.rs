//! The definition, value by value in float64.

use candle_core::Tensor;

/// `dt = clamp(ln(1 + e^(raw + bias)), limit)`: `dt_softplus` of `mamba_ssm`, and `dt_limit` of Mamba-2.
///
/// # Shapes
/// - raw: columns `start..start + width` of `projected`; `bias`: `[width]`; result: `[tokens, width]`
pub(crate) fn softplus(projected: &Tensor, start: usize, bias: &Tensor, limit: (f32, f32)) -> Tensor {
    let bias = bias.to_vec1::<f32>().unwrap();
    let mut dt = Vec::new();
    for row in projected.to_vec2::<f32>().unwrap() {
        for (raw, bias) in row[start..].iter().zip(&bias) {
            // The sum is rounded to float32, as the operation rounds it.
            let value = f64::from(raw + bias).exp().ln_1p();
            dt.push(value.clamp(f64::from(limit.0), f64::from(limit.1)) as f32);
        }
    }
    Tensor::from_vec(dt, (projected.dim(0).unwrap(), bias.len()), projected.device()).unwrap()
}
