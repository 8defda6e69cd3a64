//! `dt_mean` and `dt_l2`: step sizes, whatever `source` says.

use super::metric::{Compute, Kernel, Metric, RowOf};
use super::rows::{euclidean, plain_mean};
use super::source::Source;

/// Mean step size: the step size as informativeness.
pub static DT_MEAN: Metric = Metric {
    name: "dt_mean",
    formula: "(1/D) sum_d dt_d",
    reference: "MTR, Ma et al. 2025, https://arxiv.org/abs/2507.14042; DTP 2026",
    compute: Compute::Row { of: RowOf::Fixed(Source::Dt), score: plain_mean, kernel: Some(Kernel::Mean) },
};

/// Euclidean norm of the step sizes.
pub static DT_L2: Metric = Metric {
    name: "dt_l2",
    formula: "sqrt(sum_d dt_d^2)",
    reference: "DeciMamba, Ben-Kish et al., ICLR 2025, https://arxiv.org/abs/2406.14528",
    compute: Compute::Row { of: RowOf::Fixed(Source::Dt), score: euclidean, kernel: Some(Kernel::L2) },
};
