//! What a cell cost: its own time where every cell was timed by itself, otherwise its FLOPs.

use records::schema::CellRecord;
use serde::Serialize;

/// What the costs of rules are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Measured wall time: every cell was repeated for it.
    Time,
    /// FLOPs executed: the time of a cell that ran once holds what was compiled at its first use, and where cells shared work it is a share
    /// that depends on what ran beside it.
    Flops,
}

impl Basis {
    /// Time, if there are cells and each was timed.
    pub(crate) fn of<'a>(done: impl IntoIterator<Item = &'a CellRecord>) -> Self {
        let mut timed = done.into_iter().map(is_timed).peekable();
        if timed.peek().is_some() && timed.all(|timed| timed) { Self::Time } else { Self::Flops }
    }
}

/// Whether a cell was repeated for its time.
pub(crate) fn is_timed(cell: &CellRecord) -> bool {
    !cell.cost.repeats_s.is_empty()
}
