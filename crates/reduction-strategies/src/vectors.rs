//! Arithmetic of rows, in one order everywhere.

/// Dot product, summed in order in float64.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Euclidean norm, summed in order in float64.
#[must_use]
pub fn norm(row: &[f32]) -> f64 {
    row.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt()
}

/// The positive part of a number, and NaN of NaN, which the maximum with zero would take for a negative number.
#[must_use]
pub fn positive(value: f32) -> f32 {
    if value > 0.0 || value.is_nan() { value } else { 0.0 }
}
