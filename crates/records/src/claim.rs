//! A claim as the plan records it: which trials, or rows of a probe, each comparison compares.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::probes::Key;

/// A claim with its comparisons, as `plan.json` records it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedClaim {
    /// What is claimed, in words.
    pub expect: String,
    /// The quantity that is estimated, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimand: Option<String>,
    /// What the estimate is meant to hold for, in words: models, items, reductions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub population: Option<String>,
    /// Why the margins are what they are, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin_reason: Option<String>,
    /// What of the data its author had seen before the comparisons and margins were fixed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// Whether comparisons and margins were fixed before the data were looked at.
    #[serde(default)]
    pub status: Status,
    /// BLAKE3 digest of the experiment file that holds the claim, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The comparisons, by entry of the file, then in the order of the grid.
    pub comparisons: Vec<PlannedComparison>,
}

/// On `quantity`, `higher` is claimed to be above `lower` by more than `margin`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedComparison {
    /// The entry of the file that it belongs to, counted from 0: the comparisons of an entry differ by model, protocol and setting.
    #[serde(default)]
    pub entry: usize,
    /// The name that the file gives it.
    pub name: Option<String>,
    /// What both sides have in common: model; none where it is what they differ in.
    pub model: Option<String>,
    /// The same for the protocol.
    pub protocol: Option<String>,
    /// What else both sides have in common, in words: reduction, sites, positions.
    pub setting: String,
    /// The side that is claimed to be lower.
    pub lower: ArmName,
    /// The side that is claimed to be higher.
    pub higher: ArmName,
    /// What is compared.
    pub quantity: Quantity,
    /// Smallest difference that counts.
    pub margin: f64,
    /// Tasks that both sides run.
    pub tasks: Vec<String>,
    /// Rows of a probe, where these are the sides and not trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<PlannedRows>,
}

impl PlannedComparison {
    /// What is compared, in a word.
    pub fn what(&self) -> &str {
        self.rows.as_ref().map_or(self.quantity.name(), |rows| &rows.measure)
    }
}

/// Trials that differ by their seed alone, or by their task where a reduction is achieved on each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmName {
    /// The side in words: strategy, and what it is selected by.
    pub label: String,
    /// Its trials, one per seed, or one per seed and task.
    pub trials: Vec<String>,
}

/// The two rows of a comparison about a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedRows {
    /// The probe.
    pub probe: String,
    /// What its rows measure.
    pub measure: String,
    /// Keys of the side that is claimed to be lower, one per column of the probe.
    pub lower: Vec<Key>,
    /// Keys of the other side.
    pub higher: Vec<Key>,
}

/// What a result about a claim is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Some of the data were known when comparisons and margins were fixed.
    #[default]
    Exploratory,
    /// Comparisons and margins were fixed first; the items had been scored by nobody.
    Confirmatory,
}

/// What a comparison compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Mean accuracy over the tasks, in percentage points.
    Accuracy,
    /// What the mean accuracy lacks to the baseline of the same model and protocol, in percentage points.
    AccuracyLost,
    /// Mean log-likelihood over the tasks, in nats per scored token: the loss with its sign turned.
    LogLikelihood,
    /// What the log-likelihood lacks to the baseline of the same model and protocol, in nats per scored token: the added loss.
    LogLikelihoodLost,
    /// FLOPs that were executed, the cost of the rule included; differences in per cent of the lower side.
    Flops,
    /// Tokens per second as measured; differences in per cent of the lower side.
    TokensPerS,
    /// A share that a probe measures, in percentage points.
    Probe,
}

/// Every status with its word in experiment files.
pub const STATUSES: [(&str, Status); 2] =
    [("exploratory", Status::Exploratory), ("confirmatory", Status::Confirmatory)];

/// Every quantity with its word. The last one is not written as a quantity: its entry names a probe.
pub const QUANTITIES: [(&str, Quantity); 7] = [
    ("accuracy", Quantity::Accuracy),
    ("accuracy_lost", Quantity::AccuracyLost),
    ("log_likelihood", Quantity::LogLikelihood),
    ("log_likelihood_lost", Quantity::LogLikelihoodLost),
    ("flops", Quantity::Flops),
    ("tokens_per_s", Quantity::TokensPerS),
    ("probe", Quantity::Probe),
];

impl Status {
    /// Word in experiment files.
    pub fn name(self) -> &'static str {
        STATUSES[self as usize].0
    }
}

impl Quantity {
    /// Word in experiment files.
    pub fn name(self) -> &'static str {
        QUANTITIES[self as usize].0
    }

    /// Whether it is a cost, known per task, and not a score, known per item.
    pub fn is_cost(self) -> bool {
        matches!(self, Self::Flops | Self::TokensPerS)
    }

    /// Whether it comes from answers that are right or wrong.
    pub fn is_accuracy(self) -> bool {
        matches!(self, Self::Accuracy | Self::AccuracyLost)
    }

    /// Whether both sides are measured against the baseline.
    pub fn is_lost(self) -> bool {
        matches!(self, Self::AccuracyLost | Self::LogLikelihoodLost)
    }

    /// Between what differences lie.
    pub fn range(self) -> (f64, f64) {
        match self {
            Self::Accuracy => (-100.0, 100.0),
            Self::AccuracyLost => (-200.0, 200.0),
            _ => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    /// Decimals that differences are written with.
    pub fn decimals(self) -> usize {
        if self.unit() == "nats" { 3 } else { 1 }
    }

    /// Unit of differences, as written after a number.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Flops | Self::TokensPerS => "%",
            Self::LogLikelihood | Self::LogLikelihoodLost => "nats",
            Self::Accuracy | Self::AccuracyLost | Self::Probe => "points",
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
