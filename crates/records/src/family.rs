//! Kinds of strategies.

use serde::{Deserialize, Serialize};

/// The kind of a strategy. Figures have one panel per family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// No reduction.
    Baseline,
    /// A rule without merit of its own, to compare others with.
    Control,
    /// Tokens are dropped by importance.
    Pruning,
    /// Tokens are merged into similar ones, or decided by what came before them.
    Merging,
    /// Rules that read or keep the recurrence of a state space model.
    StateAware,
    /// Code that authors released, bug for bug.
    Released,
}
