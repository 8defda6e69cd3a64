//! Which row answers for which target.

use ssm_kernels::Segments;

/// The row that answers for one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Index of the target in the continuation.
    pub(crate) index: u32,
    /// Token that is scored there.
    pub(crate) target: u32,
    /// Row of the packed stream after the last layer; none if nothing at or before the predecessor survives.
    pub(crate) row: Option<u32>,
    /// Position, in context + continuation, of the token that stood in that row.
    pub(crate) position: Option<u32>,
    /// Whether that token is the target's true predecessor.
    pub(crate) covered: bool,
}

/// Tables of a batch before and after the reduction.
#[derive(Clone, Copy)]
pub(crate) struct After<'a> {
    /// Segments as they entered.
    pub(crate) before: &'a Segments,
    /// Segments as they left.
    pub(crate) segments: &'a Segments,
    /// Original positions of the surviving tokens of each segment, ascending.
    pub(crate) positions: &'a [&'a [u32]],
}
