//! `record_plans`: of which items the plans are kept. No part of an id, since no number depends on it.

use records::schema::{CellRecord, FIRST_PLANS};
use serde::Serialize;

use super::error::Fault;
use super::node::{Node, Value};

/// Items of each cell whose plans are kept beside its scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordPlans {
    /// The first ones.
    First(usize),
    /// All.
    All,
    /// The first [`FIRST_PLANS`], and every item that the baseline answers right and the cell does not.
    Lost,
}

impl Default for RecordPlans {
    fn default() -> Self {
        Self::First(20)
    }
}

impl RecordPlans {
    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        const HINT: &str = "write a number of items per cell, `all`, or `lost` for those that the baseline answers right and the cell does not";
        match &node.value {
            Value::Text(word) if word == "all" => Ok(Self::All),
            Value::Text(word) if word == "lost" => Ok(Self::Lost),
            Value::Integer(_) => {
                let number = node.whole("`record_plans`", FIRST_PLANS as u64)?;
                Ok(Self::First(number.value as usize))
            }
            Value::Text(word) => {
                Err(node.fault(format!("unknown `record_plans`: `{word}`")).label("unknown").hint(HINT))
            }
            _ => Err(node.wrong("`record_plans`", "a whole number, `all` or `lost`").hint(HINT)),
        }
    }

    /// Items whose plans an evaluation must hand over, from the first one: those that a cell loses are known at its end.
    pub(crate) fn traced(self) -> usize {
        match self {
            Self::First(items) => items,
            Self::All | Self::Lost => usize::MAX,
        }
    }

    /// In words, for a plan.
    pub(crate) fn in_words(self) -> String {
        match self {
            Self::First(items) => format!("the first {items} items"),
            Self::All => "all items".to_owned(),
            Self::Lost => format!("the first {FIRST_PLANS} items and of those it loses"),
        }
    }

    /// As in a file.
    pub(super) fn written(self) -> String {
        match self {
            Self::First(items) => items.to_string(),
            Self::All => "all".to_owned(),
            Self::Lost => "lost".to_owned(),
        }
    }
}

/// Removes the plans of all items but the first ones and those that the cell loses. Without a record of the baseline, every item that the
/// cell answers wrong counts as lost.
pub(crate) fn trim_to_lost(record: &mut CellRecord, baseline: Option<&CellRecord>) {
    let right = |record: &CellRecord, item: usize| record.items.get(item).and_then(|item| item.correct);
    let is_lost = |item: usize| {
        right(record, item) == Some(false) && baseline.and_then(|record| right(record, item)) != Some(false)
    };
    let lost: Vec<bool> = (0..record.items.len()).map(is_lost).collect();
    record.plans.retain(|plan| plan.item < FIRST_PLANS || lost[plan.item]);
}
