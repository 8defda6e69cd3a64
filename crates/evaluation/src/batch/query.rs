//! One log-likelihood question: a context, a continuation, and which of its tokens count.

/// A context and one continuation of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// Index of the item in its task.
    pub(crate) item: u64,
    /// Index of the context in its item: queries with equal item and context index share one context.
    pub(crate) context_index: usize,
    /// At least one token.
    pub(crate) context: Vec<u32>,
    /// At least one token.
    pub(crate) continuation: Vec<u32>,
    /// Indices into the continuation, ascending: the tokens that are scored.
    pub(crate) scored: Vec<u32>,
    /// Positions in the context that the answer needs.
    pub(crate) necessary: Vec<u32>,
}

impl Query {
    /// Everything that a model reads: all tokens but the last.
    pub(crate) fn inputs(&self) -> Vec<u32> {
        let mut inputs = [self.context.as_slice(), &self.continuation].concat();
        inputs.pop();
        inputs
    }

    /// The token at `position` of context + continuation, where there is one.
    pub(crate) fn token(&self, position: usize) -> Option<u32> {
        let continuation = position.checked_sub(self.context.len());
        continuation.map_or_else(|| self.context.get(position), |index| self.continuation.get(index)).copied()
    }
}
