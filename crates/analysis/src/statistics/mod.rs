//! The statistics of the analysis, one idea a file. Formulas and reasons: `docs/statistics.md`.

mod contributions;
mod crossed;
mod difference;
mod estimate;
mod holm;
mod jaccard;
mod mcnemar;
mod percentile;
mod resample;
mod score;
mod simultaneous;
mod verdict;
mod wilson;

pub(crate) use contributions::Contributions;
pub(crate) use crossed::{Crossed, crossed};
pub(crate) use difference::paired_difference;
pub use difference::{Difference, difference_of_replicates};
pub use estimate::Estimate;
pub(crate) use estimate::{Rule, estimate, estimate_from_replicates, mean_stderr};
pub(crate) use holm::holm;
pub(crate) use jaccard::{ChanceOverlap, jaccard};
pub use percentile::Interval;
pub(crate) use percentile::percentile_interval;
pub(crate) use resample::{RESAMPLES, ResampleBank};
pub(crate) use score::{mean_of_shares, share_of_seeds};
pub use simultaneous::JOINT_LEVEL;
pub use verdict::{Decision, Verdict, median};
pub(crate) use verdict::{Evidence, decide};

/// `ln(k!)` for k = 0..=n, by summation: exact enough for the counts of an evaluation.
fn ln_factorials(n: usize) -> Vec<f64> {
    let mut table = Vec::with_capacity(n + 1);
    let mut total = 0.0_f64;
    table.push(total);
    for k in 1..=n {
        total += (k as f64).ln();
        table.push(total);
    }
    table
}
