//! A bridge: arms in an order in which each differs from the one before it by one thing.

use super::selector::Selector;

/// A bridge, as the file gives it.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// Its name, part of file names.
    pub name: String,
    /// The first arm and what changes from there on; at least two entries.
    pub steps: Vec<Step>,
}

/// One entry of a bridge.
#[derive(Clone, Debug)]
pub struct Step {
    /// What changes, in words; what the first arm is.
    pub factor: String,
    /// Of the first entry what selects its arm; of any other the one condition that is another one from here on.
    pub selector: Selector,
}
