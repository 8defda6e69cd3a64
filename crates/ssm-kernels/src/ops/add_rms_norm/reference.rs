//! The definition, row by row in float64.

use candle_core::Tensor;

/// `r = hidden + residual`, rounded to float32, and `y = r / sqrt(mean(r^2) + eps) * weight`: `(y, r)`.
///
/// `RMSNorm` of <https://arxiv.org/abs/1910.07467> on the sum, as `rms_norm_ref` with `prenorm` in `mamba_ssm`.
///
/// # Shapes
/// - `hidden`, `residual` and both results: `[tokens, d_model]`; `weight`: `[d_model]`
pub(crate) fn add_rms_norm(hidden: &Tensor, residual: Option<&Tensor>, weight: &Tensor, eps: f32) -> (Tensor, Tensor) {
    let weight = weight.to_vec1::<f32>().unwrap();
    let sum = residual.map_or_else(|| hidden.clone(), |residual| (hidden + residual).unwrap());
    let mut normed = Vec::new();
    for row in sum.to_vec2::<f32>().unwrap() {
        let mut squares = 0.0;
        for x in &row {
            squares += f64::from(*x) * f64::from(*x);
        }
        let scale = 1.0 / (squares / row.len() as f64 + f64::from(eps)).sqrt();
        for (x, weight) in row.iter().zip(&weight) {
            normed.push((f64::from(*x) * scale * f64::from(*weight)) as f32);
        }
    }
    (Tensor::from_vec(normed, sum.dims(), sum.device()).unwrap(), sum)
}
