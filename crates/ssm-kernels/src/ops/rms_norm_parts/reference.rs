//! The definition, part by part in float64.

use candle_core::Tensor;

/// `y = x / sqrt(mean(x^2) + eps)` within each part of a row: the norm without a weight on dt, B and C of Falcon-Mamba
/// (`rms_forward` of `modeling_falcon_mamba.py` in transformers).
///
/// # Shapes
/// - `x` and result: `[tokens, sum of widths]`; `widths`: columns of each part
pub(crate) fn rms_norm_parts(x: &Tensor, widths: &[usize], eps: f32) -> Tensor {
    let mut out = Vec::new();
    for row in x.to_vec2::<f32>().unwrap() {
        let mut start = 0;
        for width in widths {
            let part = &row[start..start + width];
            let mean = part.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / *width as f64;
            for x in part {
                out.push((f64::from(*x) / (mean + f64::from(eps)).sqrt()) as f32);
            }
            start += width;
        }
    }
    Tensor::from_vec(out, x.dims(), x.device()).unwrap()
}
