//! From items to queries.

use super::query::Query;
use crate::protocol::Scope;
use crate::tasks::{Context, Item, TaskKind};

/// The queries of some items, in order; choices of one item follow each other.
pub(crate) fn queries(kind: TaskKind, items: &[Item], scope: Scope) -> Vec<Query> {
    let per_item = items.iter().enumerate().flat_map(|(index, item)| {
        if kind == TaskKind::RunningText {
            return running_text(index as u64, item, scope);
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
/// Where everything may be reduced, all tokens are scored but the first ones of a window, which an earlier window scored or which have
/// no predecessor. Where only the context is, the first half of a window is the context and the rest is scored, unless more than half
/// of it belongs to an earlier window already. Of a text that an experiment cut, the context is what it says.
fn running_text(index: u64, item: &Item, scope: Scope) -> Vec<Query> {
    let query = |(window, context): (usize, &Context)| {
        let tokens = &context.tokens;
        let from = item.scored_from(window);
        let halved = scope == Scope::Context && !item.facts.is_cut;
        let split = if halved { (tokens.len() / 2).max(from) } else { from };
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
    fn split(item: &Item, scope: Scope) -> Vec<(Vec<u32>, Vec<u32>)> {
        let queries = queries(TaskKind::RunningText, std::slice::from_ref(item), scope);
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
            facts: ItemFacts { scored_from: vec![1, 3], ..ItemFacts::default() },
            ..Item::default()
        };
        assert_eq!(
            split(&item, Scope::Input),
            [(vec![0], vec![1, 2, 3, 4]), (vec![2, 3, 4], vec![5, 6])],
            "all of the first window, the end of the second"
        );
        assert_eq!(split(&item, Scope::Context), [(vec![0, 1], vec![2, 3, 4]), (vec![2, 3, 4], vec![5, 6])]);
    }
}
