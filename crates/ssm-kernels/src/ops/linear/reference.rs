//! The definition: one dot product per output, in float64.

use candle_core::Tensor;

/// `y[t, j] = b[j] + sum_i x[t, i] * w[j, i]`.
///
/// # Shapes
/// - `x`: `[tokens, k]`; `weight`: `[n, k]`; `bias`: `[n]`, zero where absent; result: `[tokens, n]`
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let (rows, n) = (x.dim(0).unwrap(), weight.dim(0).unwrap());
    let weight = weight.to_vec2::<f32>().unwrap();
    let bias = bias.map(|bias| bias.to_vec1::<f32>().unwrap());
    let mut y = Vec::new();
    for x in x.to_vec2::<f32>().unwrap() {
        for (j, weight) in weight.iter().enumerate() {
            let mut sum = bias.as_ref().map_or(0.0, |bias| f64::from(bias[j]));
            for (x, w) in x.iter().zip(weight) {
                sum += f64::from(*x) * f64::from(*w);
            }
            y.push(sum as f32);
        }
    }
    Tensor::from_vec(y, (rows, n), x.device()).unwrap()
}
