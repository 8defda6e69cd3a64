//! What is packed: sequences that run together, and where each query is.

use reduction_strategies::SegmentTokens;

/// One segment to be packed.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) tokens: Vec<u32>,
    /// Index of the parent within the same unit.
    pub(crate) parent: Option<usize>,
    /// What strategies are told of the tokens.
    pub(crate) table: SegmentTokens,
}

/// Sequences that must stand together (a context and its continuations), with the placements inside.
#[derive(Debug)]
pub(crate) struct Unit {
    /// One tree: the first is the root.
    pub(crate) sequences: Vec<Sequence>,
    pub(crate) placements: Vec<Placement>,
}

impl Unit {
    /// Tokens that enter the model.
    pub(crate) fn tokens(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.tokens.len()).sum()
    }

    /// The item that it belongs to.
    pub(crate) fn item(&self) -> u64 {
        self.sequences[0].table.item
    }
}

/// Where one query stands in a batch.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// Index of the query.
    pub(crate) query: usize,
    /// Segment that holds the context (and, unless the continuation has its own, the continuation).
    pub(crate) segment: usize,
    /// Segment of the continuation's inputs, where it has one of its own.
    pub(crate) continuation: Option<usize>,
}
