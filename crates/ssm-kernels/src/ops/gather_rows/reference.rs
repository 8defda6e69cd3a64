//! The definition, row by row.

use candle_core::Tensor;

/// `out[i] = x[indices[i]]`.
///
/// # Shapes
/// - `x`: `[rows, width]`; result: `[indices, width]`
pub(crate) fn gather_rows(x: &Tensor, indices: &[u32]) -> Tensor {
    let rows = x.to_vec2::<f32>().unwrap();
    let mut out = Vec::new();
    for index in indices {
        out.extend_from_slice(&rows[*index as usize]);
    }
    Tensor::from_vec(out, (indices.len(), x.dim(1).unwrap()), x.device()).unwrap()
}
