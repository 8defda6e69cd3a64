//! What a cell says under the harness's names of metrics, with the harness's values and standard errors.

use records::schema::{Aggregate, CellRecord, MetricRecord};
use serde_json::{Value, json};

use crate::statistics::{Contributions, mean_stderr};

/// How the harness makes one number of what the documents add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregation {
    /// Sum over number.
    Mean,
    /// Sum of values over sum of weights. The harness has no aggregation of this name.
    WeightedMean,
    /// `exp(-mean)` of log-likelihoods, one per document.
    Perplexity,
    /// `exp(-sum / sum of weights)` of log-likelihoods.
    WeightedPerplexity,
    /// Negative log-likelihoods in bits over bytes.
    BitsPerByte,
}

impl Aggregation {
    /// The harness's name where it has one.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::WeightedMean => "weighted_mean",
            Self::Perplexity => "perplexity",
            Self::WeightedPerplexity => "weighted_perplexity",
            Self::BitsPerByte => "bits_per_byte",
        }
    }

    /// Means are of accuracies, everything else is of surprise.
    pub(super) fn higher_is_better(self) -> bool {
        matches!(self, Self::Mean | Self::WeightedMean)
    }
}

/// One metric of one cell.
pub(super) struct Measured {
    /// Name in the harness's files.
    pub(super) name: String,
    pub(super) aggregation: Aggregation,
    pub(super) value: f64,
    /// None where the harness has none either: for fewer than two documents and for weighted metrics.
    pub(super) stderr: Option<f64>,
    contributions: Contributions,
}

impl Measured {
    fn new(name: &str, record: &MetricRecord) -> Self {
        let contributions = Contributions::of_items(record, 0..record.contributions.len());
        let aggregation = match (record.aggregate, contributions.unit_weights()) {
            _ if name == "bits_per_byte" => Aggregation::BitsPerByte,
            (Aggregate::Mean, true) => Aggregation::Mean,
            (Aggregate::Mean, false) => Aggregation::WeightedMean,
            (Aggregate::ExpNegMean, true) => Aggregation::Perplexity,
            (Aggregate::ExpNegMean, false) => Aggregation::WeightedPerplexity,
        };
        let several = contributions.len() > 1;
        let stderr = (aggregation == Aggregation::Mean && several).then(|| mean_stderr(contributions.values()));
        Self { name: name.to_owned(), aggregation, value: contributions.value(), stderr, contributions }
    }

    /// Whether the harness bootstraps its standard error.
    pub(super) fn is_bootstrapped(&self) -> bool {
        self.aggregation == Aggregation::Perplexity && self.items() > 1
    }

    pub(super) fn items(&self) -> usize {
        self.contributions.len()
    }

    pub(super) fn values(&self) -> &[f64] {
        self.contributions.values()
    }

    /// What the harness stores in the sample of a document.
    pub(super) fn sample(&self, item: usize) -> Value {
        let value = self.contributions.values()[item];
        let weight = self.contributions.weights()[item];
        match self.aggregation {
            Aggregation::Mean | Aggregation::Perplexity => json!(value),
            Aggregation::WeightedMean | Aggregation::WeightedPerplexity => json!([value, weight]),
            // The harness stores the log-likelihood and takes bits of the sum.
            Aggregation::BitsPerByte => json!([-value * std::f64::consts::LN_2, weight]),
        }
    }
}

/// The metrics of a cell.
///
/// The harness's `perplexity` counts a target once, however many tokens it has. Where a record counts tokens, that metric is called
/// `token_perplexity` here, and a task with a target also gets the harness's.
pub(super) fn measured(cell: &CellRecord) -> Vec<Measured> {
    let mut all = Vec::new();
    for record in &cell.metrics {
        let metric = Measured::new(&record.metric, record);
        if metric.name != "perplexity" || metric.aggregation == Aggregation::Perplexity {
            all.push(metric);
            continue;
        }
        all.push(Measured { name: "token_perplexity".to_owned(), ..metric });
        if output_type(cell) == "loglikelihood" {
            let contributions = cell.items.iter().map(|item| (item.loglikelihoods.iter().sum(), 1.0)).collect();
            let record = MetricRecord { contributions, ..record.clone() };
            all.push(Measured::new("perplexity", &record));
        }
    }
    all
}

/// What the harness calls the way in which the task asks.
pub(super) fn output_type(cell: &CellRecord) -> &'static str {
    match cell.items.first() {
        Some(item) if item.gold.is_some() => "multiple_choice",
        Some(item) if item.correct.is_some() => "loglikelihood",
        _ => "loglikelihood_rolling",
    }
}
