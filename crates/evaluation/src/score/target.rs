//! One scored target.

use serde::{Deserialize, Serialize};

/// One scored target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u8)", into = "(u32, u32, u8)")]
pub struct ScoredTarget {
    /// Index in the continuation.
    pub index: u32,
    /// Log-probability of the target.
    pub log_prob: f32,
    /// Whether the target is the greedy choice.
    pub hit: bool,
    /// Whether it was read from the row of its true predecessor.
    pub covered: bool,
}

/// Index, bits of the log-probability, and 1 for a hit plus 2 where covered.
impl From<ScoredTarget> for (u32, u32, u8) {
    fn from(target: ScoredTarget) -> Self {
        (target.index, target.log_prob.to_bits(), u8::from(target.hit) + 2 * u8::from(target.covered))
    }
}

impl From<(u32, u32, u8)> for ScoredTarget {
    fn from((index, log_prob, flags): (u32, u32, u8)) -> Self {
        Self { index, log_prob: f32::from_bits(log_prob), hit: flags & 1 == 1, covered: flags & 2 == 2 }
    }
}
