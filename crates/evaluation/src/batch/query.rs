//! One log-likelihood question: a context, a continuation, and which of its tokens count.

use crate::protocol::Protocol;
use crate::tasks::{Context, Item, TaskKind};

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
            return running_text(index as u64, item, protocol);
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

/// Running text: one query, or one for each of its windows.
///
/// Where everything may be reduced, all tokens are scored but the first ones of a window, which an earlier window scored or
/// which nothing stands before. Under `context` there is no continuation to spare: the first half of a window is the context
/// that is reduced, the rest is scored, unless more than half of it belongs to an earlier window already.
fn running_text(index: u64, item: &Item, protocol: Protocol) -> Vec<Query> {
    let query = |(window, context): (usize, &Context)| {
        let tokens = &context.tokens;
        let from = item.scored_from(window);
        let split = if protocol == Protocol::Context { (tokens.len() / 2).max(from) } else { from };
        let (context, continuation) = tokens.split_at(split);
        Query {
            item: index,
            context_index: window,
            context: context.to_vec(),
            continuation: continuation.to_vec(),
            scored: (0..continuation.len() as u32).collect(),
            necessary: Vec::new(),
        }
    };
    item.contexts.iter().enumerate().map(query).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::ItemFacts;

    /// (context, continuation) of each window.
    fn split(item: &Item, protocol: Protocol) -> Vec<(Vec<u32>, Vec<u32>)> {
        let queries = queries(TaskKind::RunningText, std::slice::from_ref(item), protocol);
        queries.into_iter().map(|query| (query.context, query.continuation)).collect()
    }

    #[test]
    fn windows_score_what_no_earlier_one_did() {
        let window = |tokens: std::ops::Range<u32>| Context { tokens: tokens.collect(), necessary: Vec::new() };
        let item = Item {
            id: "i".to_owned(),
            gold: None,
            contexts: vec![window(0..5), window(2..7)],
            requests: Vec::new(),
            recalls: Vec::new(),
            facts: ItemFacts { scored_from: vec![1, 3], ..ItemFacts::default() },
        };
        assert_eq!(
            split(&item, Protocol::Causal),
            [(vec![0], vec![1, 2, 3, 4]), (vec![2, 3, 4], vec![5, 6])],
            "all of the first window, the end of the second"
        );
        assert_eq!(split(&item, Protocol::Context), [(vec![0, 1], vec![2, 3, 4]), (vec![2, 3, 4], vec![5, 6])]);
    }
}
