//! The definition, segment by segment.

use candle_core::Tensor;
use ssm_kernels::Segments;

/// The first row of each segment with a value that is NaN or infinite, counted from the segment's first row.
///
/// # Shapes
/// - `x`: `[tokens, any]`
pub(crate) fn first_non_finite(x: &Tensor, segments: &Segments) -> Vec<Option<usize>> {
    let rows = x.to_vec2::<f32>().unwrap();
    let mut first = Vec::new();
    for segment in 0..segments.len() {
        let own = &rows[segments.rows(segment)];
        first.push(own.iter().position(|row| row.iter().any(|value| !value.is_finite())));
    }
    first
}
