//! `plan.json`: what a reader of the results must know of the plan.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Family;
use crate::bridge::PlannedBridge;
use crate::claim::PlannedClaim;
use crate::identity::Digests;

/// Content of `plan.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanIndex {
    /// Name of the experiment.
    pub experiment: String,
    /// What it asks.
    #[serde(default)]
    pub question: Option<String>,
    /// A claim to decide, with its comparisons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<PlannedClaim>,
    /// Bridges to draw, with their arms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bridges: Vec<PlannedBridge>,
    /// Strategy that every other one is compared to.
    #[serde(default = "dense")]
    pub baseline: String,
    /// The metric by which figures and tables show a task, by the task's name, in place of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub primary: BTreeMap<String, String>,
    /// Seed of the experiment.
    #[serde(default)]
    pub seed: u64,
    /// Solved examples in front of each question of a benchmark; plans from before there were any have none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fewshot: usize,
    /// Family of each strategy of the grid, by its name; plans from before there were families name none, and no report is drawn of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub strategies: BTreeMap<String, Family>,
    /// Cell ids in the order of the grid, which is the order of all rows.
    pub cells: Vec<String>,
    /// The same cells by what they have in common.
    #[serde(default, rename = "families")]
    pub cohorts: Vec<Cohort>,
    /// Digests of weights, tokenizers and data, by what they belong to.
    #[serde(default)]
    pub digests: Digests,
}

/// Cells of one model, task and protocol. They score the same items in the same way and differ in the reduction alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    /// Stable hash of everything that decides how the items are laid out and cut into groups, and of where they run.
    #[serde(rename = "family_id")]
    pub cohort_id: String,
    /// Model reference.
    pub model: String,
    /// Task name.
    pub task: String,
    /// Protocol name.
    pub protocol: String,
    /// Indices into the cells of the plan.
    pub cells: Vec<usize>,
}

fn dense() -> String {
    "dense".to_owned()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
