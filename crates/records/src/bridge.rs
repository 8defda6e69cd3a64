//! A bridge as the plan records it: arms in an order in which each differs from the one before it by one thing.

use serde::{Deserialize, Serialize};

/// A bridge with its chains, as `plan.json` records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBridge {
    /// Its name, part of file names.
    pub name: String,
    /// One chain per model and setting, in the order of the grid.
    pub chains: Vec<BridgeChain>,
}

/// The arms of a bridge on one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeChain {
    /// The model.
    pub model: String,
    /// What else the arms have in common, in words: reduction, sites, positions.
    pub setting: String,
    /// Tasks that every arm runs.
    pub tasks: Vec<String>,
    /// The arms, in order.
    pub steps: Vec<BridgeStep>,
}

/// One arm of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeStep {
    /// What changed from the arm before it, in words; what the first arm is.
    pub factor: String,
    /// The arm in words.
    pub label: String,
    /// Its trials, one per seed, or one per seed and task.
    pub trials: Vec<String>,
}
