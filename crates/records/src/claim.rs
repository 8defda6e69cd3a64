//! A claim as the plan records it: which trials, or rows of a probe, each comparison compares.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::probes::Key;

/// A claim with its comparisons, as `plan.json` records it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedClaim {
    /// What is claimed, in words.
    pub expect: String,
    /// What of the data its author had seen before the comparisons and margins were fixed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// How many of the comparisons must hold.
    pub share: Share,
    /// The comparisons, by entry of the file, then in the order of the grid.
    pub comparisons: Vec<PlannedComparison>,
}

/// On `quantity`, `higher` is claimed to be above `lower` by more than `margin`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedComparison {
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

/// How many of the comparisons must hold for the claim to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// Every one.
    All,
    /// More than half.
    Most,
}

/// What a comparison compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Mean accuracy over the tasks, in percentage points.
    Accuracy,
    /// What the mean accuracy lacks to the baseline of the same model and protocol, in percentage points.
    Loss,
    /// FLOPs that were executed, the cost of the rule included; differences in per cent of the lower side.
    Flops,
    /// Tokens per second as measured; differences in per cent of the lower side.
    TokensPerS,
    /// A share that a probe measures, in percentage points.
    Probe,
}

/// Every share with its word in experiment files.
pub const SHARES: [(&str, Share); 2] = [("all", Share::All), ("most", Share::Most)];

/// Every quantity with its word. The last one is not written as a quantity: its entry names a probe.
pub const QUANTITIES: [(&str, Quantity); 5] = [
    ("accuracy", Quantity::Accuracy),
    ("loss", Quantity::Loss),
    ("flops", Quantity::Flops),
    ("tokens_per_s", Quantity::TokensPerS),
    ("probe", Quantity::Probe),
];

impl Share {
    /// Word in experiment files.
    pub fn name(self) -> &'static str {
        SHARES[self as usize].0
    }

    /// How many of `comparisons` this is.
    pub fn of(self, comparisons: usize) -> usize {
        match self {
            Self::All => comparisons,
            Self::Most => comparisons / 2 + 1,
        }
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

    /// Unit of differences, as written after a number.
    pub fn unit(self) -> &'static str {
        if self.is_cost() { "%" } else { "points" }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
