//! One log-likelihood question: a context, a continuation, and which of its tokens count.

use crate::protocol::Protocol;
use crate::tasks::{Item, TaskKind};

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

/// The queries of some items, in order; choices of one item follow each other.
pub(crate) fn queries(kind: TaskKind, items: &[Item], protocol: Protocol) -> Vec<Query> {
    let per_item = items.iter().enumerate().flat_map(|(index, item)| {
        if kind == TaskKind::RunningText {
            return vec![running_text(index as u64, item, protocol)];
        }
        let query = |request: &crate::tasks::Request| Query {
            item: index as u64,
            context_index: request.context,
            context: item.contexts[request.context].tokens.clone(),
            continuation: request.continuation.clone(),
            scored: request.scored.clone(),
            necessary: item.contexts[request.context].necessary.clone(),
        };
        item.requests.iter().map(query).collect()
    });
    per_item.collect()
}

/// Running text as one query.
///
/// Where everything may be reduced, all tokens but the first are scored. Under `context` there is no continuation to
/// spare: the first half of the document is the context that is reduced, the second half is scored.
fn running_text(index: u64, item: &Item, protocol: Protocol) -> Query {
    let tokens = &item.contexts[0].tokens;
    let split = if protocol == Protocol::Context { (tokens.len() / 2).max(1) } else { 1 };
    let (context, continuation) = tokens.split_at(split);
    Query {
        item: index,
        context_index: 0,
        context: context.to_vec(),
        continuation: continuation.to_vec(),
        scored: (0..continuation.len() as u32).collect(),
        necessary: Vec::new(),
    }
}
