//! What the items add to a metric, and how that becomes its value.

use records::names::is_share;
use records::schema::{Aggregate, MetricRecord};

use super::resample::Resamples;

/// The contributions of one metric as two columns, items in a fixed order.
#[derive(Clone, Debug)]
pub(crate) struct Contributions {
    aggregate: Aggregate,
    /// Whether the metric counts right answers.
    counts: bool,
    values: Vec<f64>,
    weights: Vec<f64>,
}

impl Contributions {
    /// The contributions of `items`, in that order.
    pub(crate) fn of_items(metric: &MetricRecord, items: impl IntoIterator<Item = usize>) -> Self {
        let (values, weights) = items.into_iter().map(|item| metric.contributions[item]).unzip();
        Self { aggregate: metric.aggregate, counts: is_share(&metric.metric), values, weights }
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Contribution of each item.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// Weight of each item.
    pub(crate) fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Whether every item counts the same.
    pub(crate) fn unit_weights(&self) -> bool {
        self.weights.iter().all(|&w| is_one(w))
    }

    /// Whether this is a share of items: right answers of items that count the same. The mean over seeds is none: an item is partly right.
    pub(crate) fn is_share(&self) -> bool {
        self.counts && self.is_plain_mean() && self.values.iter().all(|&value| value == 0.0 || is_one(value))
    }

    /// Whether this is a mean in which every item counts the same.
    pub(crate) fn is_plain_mean(&self) -> bool {
        self.aggregate == Aggregate::Mean && self.unit_weights()
    }

    /// Value over all items; NaN where nothing was weighed.
    pub(crate) fn value(&self) -> f64 {
        finish(self.aggregate, self.values.iter().sum(), self.weights.iter().sum())
    }

    /// Value over each resample.
    pub(crate) fn replicates(&self, resamples: &Resamples) -> Vec<f64> {
        let mut replicates = resamples.sums(&self.values);
        if self.unit_weights() {
            let n = self.len() as f64;
            for x in &mut replicates {
                *x = finish(self.aggregate, *x, n);
            }
        } else {
            let weights = resamples.sums(&self.weights);
            replicates.iter_mut().zip(weights).for_each(|(x, weight)| *x = finish(self.aggregate, *x, weight));
        }
        replicates
    }
}

/// Exactly one: contributions of shares are written as 0 and 1, nothing is rounded here.
fn is_one(x: f64) -> bool {
    x.total_cmp(&1.0).is_eq()
}

fn finish(aggregate: Aggregate, value: f64, weight: f64) -> f64 {
    // A resample may hold weightless items alone; it then has no value, and percentiles skip it.
    if weight == 0.0 {
        return f64::NAN;
    }
    match aggregate {
        Aggregate::Mean => value / weight,
        Aggregate::ExpNegMean => (-value / weight).exp(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn contributions(aggregate: Aggregate, pairs: &[(f64, f64)]) -> Contributions {
        named("acc", aggregate, pairs)
    }

    fn named(name: &str, aggregate: Aggregate, pairs: &[(f64, f64)]) -> Contributions {
        let metric = MetricRecord { metric: name.to_owned(), aggregate, contributions: pairs.to_vec() };
        Contributions::of_items(&metric, 0..pairs.len())
    }

    /// Wilson's interval is for right answers, whatever values a loss happens to have.
    #[test]
    fn a_loss_of_zero_is_no_share() {
        for pairs in [[(0.0, 1.0), (0.0, 1.0), (0.0, 1.0)], [(1.0, 1.0), (0.0, 1.0), (1.0, 1.0)]] {
            assert!(!named("loss", Aggregate::Mean, &pairs).is_share());
            assert!(named("acc_norm", Aggregate::Mean, &pairs).is_share());
        }
        assert!(!named("acc", Aggregate::Mean, &[(1.0, 1.0), (1.0 / 3.0, 1.0)]).is_share(), "a mean over seeds");
        // Tokens of items that have several.
        assert!(!named("token_acc", Aggregate::Mean, &[(0.0, 3.0), (0.0, 3.0)]).is_share());
    }

    #[test]
    fn mean_and_perplexity() {
        let mean = contributions(Aggregate::Mean, &[(1.0, 1.0), (0.0, 1.0), (1.0, 1.0), (1.0, 1.0)]);
        assert!((mean.value() - 0.75).abs() < 1e-12);
        assert!(mean.is_share());
        // exp((2 + 6) / (1 + 3)) = e^2.
        let perplexity = contributions(Aggregate::ExpNegMean, &[(-2.0, 1.0), (-6.0, 3.0)]);
        assert!((perplexity.value() - 2.0_f64.exp()).abs() < 1e-12);
        assert!(!perplexity.is_share());
        assert!(contributions(Aggregate::Mean, &[(0.0, 0.0)]).value().is_nan());
    }

    #[test]
    fn replicates_of_a_constant_are_constant() {
        let set = Resamples::draw(0, "t", 3, 20);
        let perplexity = contributions(Aggregate::ExpNegMean, &[(-1.0, 2.0), (-2.0, 4.0), (-0.5, 1.0)]);
        assert!(perplexity.replicates(&set).iter().all(|x| (x - 0.5_f64.exp()).abs() < 1e-12));
    }
}
