//! Sums over a row: in the order of the columns in float64, rounded to float32 once.

/// `sum_d f(v_d)`
pub(super) fn sum(row: &[f32], f: fn(f64) -> f64) -> f64 {
    row.iter().map(|value| f(f64::from(*value))).sum()
}

/// `(1/D) sum_d f(v_d)`, 0 of an empty row.
pub(super) fn mean(row: &[f32], f: fn(f64) -> f64) -> f64 {
    if row.is_empty() { 0.0 } else { sum(row, f) / row.len() as f64 }
}

/// `(1/D) sum_d v_d`
pub(super) fn plain_mean(row: &[f32]) -> f32 {
    mean(row, |value| value) as f32
}

/// `sqrt(sum_d v_d^2)`
pub(super) fn euclidean(row: &[f32]) -> f32 {
    sum(row, |value| value * value).sqrt() as f32
}
