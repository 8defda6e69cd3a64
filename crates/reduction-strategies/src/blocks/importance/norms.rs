//! `l1`, `l2` and `sum`: the size and the mean of a row.

use super::metric::{Compute, Kernel, Metric, RowOf};
use super::rows::{euclidean, mean, plain_mean};

/// Mean magnitude.
pub static L1: Metric = Metric {
    name: "l1",
    formula: "(1/D) sum_d abs(v_d)",
    reference: "",
    compute: Compute::Row { of: RowOf::Chosen, score: |row| mean(row, f64::abs) as f32, kernel: Some(Kernel::L1) },
};

/// Euclidean norm.
pub static L2: Metric = Metric {
    name: "l2",
    formula: "sqrt(sum_d v_d^2)",
    reference: "",
    compute: Compute::Row { of: RowOf::Chosen, score: euclidean, kernel: Some(Kernel::L2) },
};

/// Mean.
pub static SUM: Metric = Metric {
    name: "sum",
    formula: "(1/D) sum_d v_d",
    reference: "",
    compute: Compute::Row { of: RowOf::Chosen, score: plain_mean, kernel: Some(Kernel::Mean) },
};
