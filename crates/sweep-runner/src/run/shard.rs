//! A fixed share of the work, for processes that cannot see each other's progress or should load few models.

/// One of `count` shares of an experiment's units.
///
/// All units are listed by model, then task, then protocol, then group, and cut into `count` contiguous ranges of about equal
/// estimated cost. The cut looks at the plan alone, never at what is done already, so that every process cuts alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which share, 0-based; less than `count`.
    pub index: usize,
    /// Number of shares; at least 1.
    pub count: usize,
}
