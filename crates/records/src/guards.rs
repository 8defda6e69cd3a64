//! What the guards found, as plain data: the rows of `guards.json`.

use serde::{Deserialize, Serialize};

use crate::code::Code;

/// Raised whenever a guard, or the choice of the items that it looks at, changes: earlier outcomes are then not reused.
pub const GUARDS_VERSION: u32 = 2;

/// [`GuardRow::guard`] of a reduction that could not be guarded because it failed.
pub const ERROR: &str = "error";

/// One guard on one strategy, model and protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuardRow {
    /// Hash of everything that can change the outcome: the guarded trial (weights, strategy, sites, keep ratio, seed, ..),
    /// all tasks with their data, and [`GUARDS_VERSION`]. Empty in files from before there were ids, which match nothing.
    #[serde(default)]
    pub guard_id: String,
    /// The code that was guarded; a row of other code is not reused.
    #[serde(default)]
    pub code: Code,
    /// Model reference.
    pub model: String,
    /// Protocol name.
    pub protocol: String,
    /// Strategy name.
    pub strategy: String,
    /// Its options.
    pub strategy_params: String,
    /// Keep ratio at which it was guarded: the lowest that the experiment asks of this strategy. None where the count is free.
    pub keep_ratio: Option<f64>,
    /// `oracle`, `identity`, `alone` or `causal`; `error` where the reduction failed.
    pub guard: String,
    /// Whether the guard holds.
    pub passed: bool,
    /// Share of the checked values that are right.
    pub measured: f64,
    /// Number of checked values.
    pub checked: usize,
    /// What was measured, or the error.
    pub meaning: String,
    /// What to do about an error, where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
