//! Which items of a task are scored.

use evaluation::tasks::{Prompting, Split};

/// Which items of a task are scored, and how they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemChoice {
    /// How benchmarks are asked.
    pub prompting: Prompting,
    /// Items that may be seen.
    pub split: Split,
    /// Largest number of items.
    pub limit: Option<usize>,
}
