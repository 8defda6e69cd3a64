//! `clip`: the mean of the positive parts of a row.

use super::metric::{Compute, Kernel, Metric, RowOf};
use super::rows::mean;

/// Mean of the positive parts; on the SSM output it is the importance of Zhan et al.
pub static CLIP: Metric = Metric {
    name: "clip",
    formula: "(1/D) sum_d max(0, v_d)",
    reference: "Zhan et al., EMNLP 2024, Eq. 5, there on the SSM output",
    compute: Compute::Row { of: RowOf::Chosen, score, kernel: Some(Kernel::Clip) },
};

fn score(row: &[f32]) -> f32 {
    // As `vectors::positive`: NaN is not taken for a negative number.
    mean(row, |value| if value > 0.0 || value.is_nan() { value } else { 0.0 }) as f32
}
