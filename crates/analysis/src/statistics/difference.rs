//! Paired differences to a baseline.

use super::contributions::Contributions;
use super::estimate::Estimate;
use super::mcnemar::mcnemar;
use super::percentile::{Interval, percentile_interval};
use super::resample::Resamples;

/// A paired difference on the scale of the metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Trial minus baseline.
    pub value: f64,
    /// 95 %, over items.
    pub interval: Interval,
    /// Two-sided, not corrected for the number of comparisons.
    pub p_value: f64,
}

impl Difference {
    /// What figures draw: the difference over `n` items as a value with its interval.
    pub fn as_estimate(&self, n: usize) -> Estimate {
        Estimate { n, value: self.value, stderr: f64::NAN, interval: self.interval }
    }
}

/// Difference of two trials over the same items in the same order.
///
/// `known` are the replicates of both over these resamples, where they were computed before. The interval is a paired
/// bootstrap; p is the exact `McNemar` test for shares of items, otherwise the bootstrap's.
pub(crate) fn paired_difference(
    trial: &Contributions,
    baseline: &Contributions,
    known: Option<(&[f64], &[f64])>,
    resamples: &Resamples,
) -> Difference {
    let value = trial.value() - baseline.value();
    if trial.is_share() && baseline.is_share() {
        let steps: Vec<f64> = trial.values().iter().zip(baseline.values()).map(|(t, b)| t - b).collect();
        let n = steps.len() as f64;
        // Most items agree, so the column of steps is sparse and this is much cheaper than two sets of replicates.
        let replicates: Vec<f64> = resamples.sums(&steps).into_iter().map(|sum| sum / n).collect();
        let gained = steps.iter().filter(|&&step| step > 0.0).count();
        let lost = steps.iter().filter(|&&step| step < 0.0).count();
        return Difference { value, interval: percentile_interval(&replicates), p_value: mcnemar(gained, lost) };
    }
    match known {
        Some((trial, baseline)) => difference_of_replicates(value, trial, baseline),
        None => difference_of_replicates(value, &trial.replicates(resamples), &baseline.replicates(resamples)),
    }
}

/// Difference of two quantities whose replicates come from the same resamples.
pub fn difference_of_replicates(value: f64, trial: &[f64], baseline: &[f64]) -> Difference {
    let replicates: Vec<f64> = trial.iter().zip(baseline).map(|(t, b)| step(*t, *b)).collect();
    Difference { value, interval: percentile_interval(&replicates), p_value: bootstrap_p(&replicates) }
}

/// `t - b`, and 0 where they differ by what rounding leaves: replicates may have been kept in single precision, and a mean over seeds of
/// answers that are all right need not be 1.
fn step(t: f64, b: f64) -> f64 {
    let rounding = 4.0 * f64::from(f32::EPSILON) * t.abs().max(b.abs());
    if (t - b).abs() <= rounding { 0.0 } else { t - b }
}

/// Twice the smaller share of replicates on either side of zero, each counted with one more, at most 1.
fn bootstrap_p(replicates: &[f64]) -> f64 {
    let at_most = replicates.iter().filter(|&&x| x <= 0.0).count();
    let at_least = replicates.iter().filter(|&&x| x >= 0.0).count();
    let draws = replicates.iter().filter(|x| !x.is_nan()).count();
    (2.0 * (at_most.min(at_least) + 1) as f64 / (draws + 1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use records::schema::Aggregate;

    use super::super::contributions::tests::contributions;
    use super::*;

    fn share(bits: &[u8]) -> Contributions {
        let pairs: Vec<(f64, f64)> = bits.iter().map(|&bit| (f64::from(bit), 1.0)).collect();
        contributions(Aggregate::Mean, &pairs)
    }

    #[test]
    fn shares_are_compared_item_by_item() {
        let (trial, baseline) = (share(&[1, 0, 0, 0, 1, 0, 0, 1]), share(&[1, 1, 1, 1, 1, 1, 1, 0]));
        let set = Resamples::draw(0, "t", 8, 500);
        let difference = paired_difference(&trial, &baseline, None, &set);
        assert!((difference.value + 0.5).abs() < 1e-12);
        // One gained, five lost: 2 * (1 + 6) / 2^6.
        assert!((difference.p_value - 14.0 / 64.0).abs() < 1e-12);
        assert!(difference.interval.low >= -1.0 && difference.interval.high <= 0.5);
    }

    #[test]
    fn sparse_steps_equal_the_difference_of_replicates() {
        let (trial, baseline) = (share(&[1, 0, 0, 1, 1, 0]), share(&[1, 1, 0, 0, 1, 1]));
        let set = Resamples::draw(0, "t", 6, 400);
        let sparse = paired_difference(&trial, &baseline, None, &set);
        let full = difference_of_replicates(sparse.value, &trial.replicates(&set), &baseline.replicates(&set));
        assert!((sparse.interval.low - full.interval.low).abs() < 1e-12);
        assert!((sparse.interval.high - full.interval.high).abs() < 1e-12);
    }

    #[test]
    fn a_trial_equal_to_its_baseline_differs_by_nothing() {
        let pairs = [(-1.0, 1.0), (-2.0, 2.0), (-5.0, 3.0)];
        let perplexity = contributions(Aggregate::ExpNegMean, &pairs);
        let set = Resamples::draw(0, "t", 3, 100);
        let difference = paired_difference(&perplexity, &perplexity, None, &set);
        assert_eq!(difference.interval, Interval { low: 0.0, high: 0.0 });
        assert!((difference.p_value - 1.0).abs() < f64::EPSILON);
    }

    /// Six seeds that answer every item right: six sixths are a little less than one.
    #[test]
    fn rounding_is_no_difference() {
        let sixths = (0..6).map(|_| 1.0 / 6.0).sum::<f64>();
        assert!(sixths < 1.0);
        let averaged = contributions(Aggregate::Mean, &[(sixths, 1.0); 12]);
        let set = Resamples::draw(0, "t", 12, 200);
        let difference = paired_difference(&averaged, &share(&[1; 12]), None, &set);
        assert_eq!((difference.p_value, difference.interval), (1.0, Interval { low: 0.0, high: 0.0 }));
    }

    #[test]
    fn bootstrap_p_counts_both_sides() {
        // One of nine at or below zero: 2 * (1 + 1) / 10.
        let replicates = [-1.0, 1.0, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0];
        assert!((bootstrap_p(&replicates) - 0.4).abs() < 1e-12);
    }
}
