//! A claim: what its author expects, and the comparisons that decide it.
//!
//! The sides of a comparison are selectors like those of `exclude`; the plan finds the trials that they select.

use evaluation::probes::{Key, Measure, Probe};
use records::claim::{Quantity, Status};

use super::selector::Selector;

/// A claim and the rule that decides it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What is claimed, in words.
    pub expect: String,
    /// What of the data its author had seen before the comparisons and margins were fixed, in words.
    pub seen: Option<String>,
    /// Whether comparisons and margins were fixed before the data were looked at.
    pub status: Status,
    /// The quantity that is estimated, in words.
    pub estimand: Option<String>,
    /// What the estimate is meant to hold for, in words.
    pub population: Option<String>,
    /// Why the margins are what they are, in words.
    pub margin_reason: Option<String>,
    /// What decides it, in file order.
    pub decide: Vec<Entry>,
}

/// One entry of `decide`.
#[derive(Clone, Debug)]
pub enum Entry {
    /// About trials.
    Trials(Comparison),
    /// About the rows of a probe.
    Rows(RowComparison),
}

impl Entry {
    /// The name that it is given.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Trials(entry) => entry.name.as_deref(),
            Self::Rows(entry) => entry.name.as_deref(),
        }
    }

    /// Whether it has the same name as another, or says the same.
    pub fn is_same(&self, other: &Self) -> bool {
        let says = match (self, other) {
            (Self::Trials(own), Self::Trials(other)) => {
                (&own.lower.conditions, &own.higher.conditions) == (&other.lower.conditions, &other.higher.conditions)
                    && own.quantity == other.quantity
                    && own.margin.to_bits() == other.margin.to_bits()
            }
            (Self::Rows(own), Self::Rows(other)) => {
                (own.probe.name, own.measure.name) == (other.probe.name, other.measure.name)
                    && (&own.lower, &own.higher, &own.rows) == (&other.lower, &other.higher, &other.rows)
                    && own.margin.to_bits() == other.margin.to_bits()
            }
            _ => false,
        };
        says || (self.name().is_some() && self.name() == other.name())
    }
}

/// An entry about trials: on `quantity`, `higher` is above `lower` by more than `margin`.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What is compared, in words.
    pub name: Option<String>,
    /// The side that is claimed to be lower.
    pub lower: Selector,
    /// The side that is claimed to be higher.
    pub higher: Selector,
    /// What is compared.
    pub quantity: Quantity,
    /// Smallest difference that counts; percentage points for accuracies, nats for log-likelihoods, per cent for costs.
    pub margin: f64,
}

/// The rows of a probe at `higher` are above those at `lower` by more than `margin`, once for every combination of `rows`.
#[derive(Clone, Debug)]
pub struct RowComparison {
    /// What is compared, in words.
    pub name: Option<String>,
    /// The probe.
    pub probe: &'static Probe,
    /// What its rows measure: a share.
    pub measure: &'static Measure,
    /// Columns that both sides have in common, with the values to look at.
    pub rows: Vec<(String, Vec<Key>)>,
    /// Columns of the side that is claimed to be lower.
    pub lower: Vec<(String, Key)>,
    /// The same columns of the side that is claimed to be higher.
    pub higher: Vec<(String, Key)>,
    /// Smallest difference that counts, in percentage points.
    pub margin: f64,
    /// 1-based line in the file.
    pub line: usize,
}
