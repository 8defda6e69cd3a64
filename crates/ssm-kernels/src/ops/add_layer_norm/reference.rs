//! The definition, row by row in float64.

use candle_core::Tensor;

/// `r = hidden + residual`, rounded to float32, and `y = (r - mean(r)) / sqrt(var(r) + eps) * weight + bias`: `(y, r)`.
/// The variance is the mean squared deviation.
///
/// `LayerNorm` of <https://arxiv.org/abs/1607.06450> on the sum, as `torch.nn.LayerNorm`.
///
/// # Shapes
/// - `hidden`, `residual` and both results: `[tokens, d_model]`; `weight`, `bias`: `[d_model]`
pub(crate) fn add_layer_norm(
    hidden: &Tensor,
    residual: Option<&Tensor>,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
) -> (Tensor, Tensor) {
    let (weight, bias) = (weight.to_vec1::<f32>().unwrap(), bias.to_vec1::<f32>().unwrap());
    let sum = residual.map_or_else(|| hidden.clone(), |residual| (hidden + residual).unwrap());
    let mut normed = Vec::new();
    for row in sum.to_vec2::<f32>().unwrap() {
        let count = row.len() as f64;
        let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
        let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
        let scale = 1.0 / (variance + f64::from(eps)).sqrt();
        for ((x, weight), bias) in row.iter().zip(&weight).zip(&bias) {
            normed.push(((f64::from(*x) - mean) * scale * f64::from(*weight) + f64::from(*bias)) as f32);
        }
    }
    (Tensor::from_vec(normed, sum.dims(), sum.device()).unwrap(), sum)
}
