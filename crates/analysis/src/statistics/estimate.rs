//! A value with its uncertainty.

use super::contributions::Contributions;
use super::percentile::{Interval, percentile_interval, spread};
use super::resample::Resamples;
use super::wilson::wilson;

/// A value, its standard error and its 95 % interval over items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Number of items.
    pub n: usize,
    /// The value, in the unit of its metric.
    pub value: f64,
    /// Its standard error.
    pub stderr: f64,
    /// 95 %, over items.
    pub interval: Interval,
}

/// Which interval a metric has: one and the same wherever its values are shown side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Every item counts the same and adds 0 or 1: Wilson's.
    Share,
    /// Anything else: percentiles of the bootstrap.
    Bootstrap,
}

impl Rule {
    /// The rule of values that are shown side by side: shares where all of them are.
    pub(crate) fn of<'a>(column: impl IntoIterator<Item = &'a Contributions>) -> Self {
        if column.into_iter().all(Contributions::is_share) { Self::Share } else { Self::Bootstrap }
    }
}

/// Estimate of one metric by its rule, with the value over each resample (none for shares where `keep` is not set).
///
/// The standard error of plain means is the usual formula (as lm-evaluation-harness reports it), otherwise the spread of the replicates.
pub(crate) fn estimate(
    contributions: &Contributions,
    resamples: &Resamples,
    rule: Rule,
    keep: bool,
) -> (Estimate, Vec<f64>) {
    let n = contributions.len();
    let value = contributions.value();
    // Wilson's interval needs no resampling, and most metrics of a sweep are shares.
    let replicates = if keep || rule == Rule::Bootstrap { contributions.replicates(resamples) } else { Vec::new() };
    let interval = match rule {
        Rule::Share => wilson(contributions.values().iter().sum(), n as f64),
        Rule::Bootstrap => percentile_interval(&replicates),
    };
    let stderr = if contributions.is_plain_mean() { mean_stderr(contributions.values()) } else { spread(&replicates) };
    (Estimate { n, value, stderr, interval }, replicates)
}

/// Estimate of something computed from replicates alone: means over seeds or tasks of what is no share.
pub(crate) fn estimate_from_replicates(n: usize, value: f64, replicates: &[f64]) -> Estimate {
    Estimate { n, value, stderr: spread(replicates), interval: percentile_interval(replicates) }
}

/// Sample standard deviation over the root of n, as lm-evaluation-harness has it; NaN for fewer than two items.
pub(crate) fn mean_stderr(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if n < 2.0 {
        return f64::NAN;
    }
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0) / n).sqrt()
}

#[cfg(test)]
mod tests {
    use records::schema::Aggregate;

    use super::super::contributions::tests::contributions;
    use super::*;

    #[test]
    fn shares_use_wilson_and_the_usual_standard_error() {
        let pairs: Vec<(f64, f64)> = (0..20).map(|i| (f64::from(u8::from(i < 15)), 1.0)).collect();
        let set = Resamples::draw(0, "t", 20, 200);
        let (estimate, replicates) = estimate(&contributions(Aggregate::Mean, &pairs), &set, Rule::Share, true);
        assert!((estimate.value - 0.75).abs() < 1e-12);
        // sqrt(0.75 * 0.25 / 19).
        assert!((estimate.stderr - (0.1875_f64 / 19.0).sqrt()).abs() < 1e-12);
        assert_eq!(estimate.interval, wilson(15.0, 20.0));
        assert_eq!(replicates.len(), 200);
    }

    #[test]
    fn perplexity_interval_holds_the_value() {
        let pairs: Vec<(f64, f64)> = (0..60).map(|i| (-1.0 - f64::from(i % 7) * 0.2, 1.0)).collect();
        let set = Resamples::draw(0, "t", 60, 4_000);
        let (estimate, _) = estimate(&contributions(Aggregate::ExpNegMean, &pairs), &set, Rule::Bootstrap, false);
        assert!(estimate.interval.contains(estimate.value));
        // Delta method: standard error of the mean times the value.
        let delta = mean_stderr(&pairs.iter().map(|p| p.0).collect::<Vec<_>>()) * estimate.value;
        assert!((estimate.stderr / delta - 1.0).abs() < 0.1);
    }
}
