//! `l_inf`: the largest magnitude of a row.

use super::metric::{Compute, Kernel, Metric, RowOf};

/// Largest magnitude.
pub static L_INF: Metric = Metric {
    name: "l_inf",
    formula: "max_d abs(v_d)",
    reference: "",
    compute: Compute::Row { of: RowOf::Chosen, score, kernel: Some(Kernel::LInf) },
};

fn score(row: &[f32]) -> f32 {
    // A maximum would skip NaN, and nobody would notice it.
    row.iter().fold(
        0.0,
        |largest: f32, value| {
            if value.is_nan() || value.abs() > largest { value.abs() } else { largest }
        },
    )
}
