//! What a probe asks of an item: one context, the right continuation, and tokens to take away.

use reduction_strategies::blocks::random::{Purpose, uniform};
use reduction_strategies::blocks::rank;
use reduction_strategies::{Draw, SegmentTokens};

use crate::tasks::Item;

/// A context with its right continuation.
pub(super) struct Question<'a> {
    /// Index of the item.
    pub(super) item: usize,
    pub(super) context: &'a [u32],
    /// Positions in the context that the answer needs, ascending.
    pub(super) necessary: &'a [u32],
    pub(super) continuation: &'a [u32],
    /// Indices into the continuation of the tokens that count.
    pub(super) scored: Vec<u32>,
}

/// One question per item: its gold continuation (or its only one); of running text the second half after the first.
pub(super) fn questions(items: &[Item]) -> Vec<Question<'_>> {
    items.iter().enumerate().map(|(index, item)| Question::of(index, item)).collect()
}

/// Whether a removed token is one that the answer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    Necessary,
    Other,
}

impl Removed {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Necessary => "necessary",
            Self::Other => "other",
        }
    }
}

impl<'a> Question<'a> {
    fn of(index: usize, item: &'a Item) -> Self {
        let Some(request) = item.requests.get(item.gold.unwrap_or(0) as usize) else {
            let tokens = &item.contexts[0].tokens;
            let (context, continuation) = tokens.split_at((tokens.len() / 2).max(1));
            let scored = (0..continuation.len() as u32).collect();
            return Self { item: index, context, necessary: &[], continuation, scored };
        };
        let context = &item.contexts[request.context];
        Self {
            item: index,
            context: &context.tokens,
            necessary: &context.necessary,
            continuation: &request.continuation,
            scored: request.scored.clone(),
        }
    }

    /// Everything that a model reads: all tokens but the last.
    pub(super) fn inputs(&self) -> Vec<u32> {
        let mut inputs = [self.context, self.continuation].concat();
        inputs.pop();
        inputs
    }

    /// The rows of the inputs from which the scored tokens are read, and those tokens.
    pub(super) fn readings(&self) -> Vec<(usize, u32)> {
        let reading = |&index: &u32| (self.context.len() + index as usize - 1, self.continuation[index as usize]);
        self.scored.iter().map(reading).collect()
    }

    /// The context as strategies see it under the protocol `context`: the last token is protected.
    pub(super) fn table(&self) -> SegmentTokens {
        SegmentTokens::reducible(self.item as u64, self.context.len()).with_last_protected()
    }

    /// Number of context tokens that a strategy may remove.
    pub(super) fn reducible(&self) -> usize {
        self.context.len() - 1
    }

    /// Which of the removable context tokens the answer needs.
    pub(super) fn marks(&self) -> Vec<bool> {
        let mut marks = vec![false; self.reducible()];
        for position in self.necessary {
            if let Some(mark) = marks.get_mut(*position as usize) {
                *mark = true;
            }
        }
        marks
    }

    /// At most `count` tokens of each kind to take away, drawn by chance, by position; never the first token (nothing stands before
    /// it) nor the last.
    pub(super) fn tokens_to_remove(&self, seed: u64, count: usize) -> Vec<(usize, Removed)> {
        let draws = uniform(Draw { seed, item: self.item as u64, site: 0 }, Purpose::Other, self.context.len());
        let marks = self.marks();
        let mut chosen = Vec::new();
        for (kind, wanted) in [(Removed::Necessary, true), (Removed::Other, false)] {
            let mut candidates: Vec<usize> = (1..marks.len()).filter(|position| marks[*position] == wanted).collect();
            candidates.sort_by(|a, b| rank::compare(draws[*a], draws[*b]).then(a.cmp(b)));
            candidates.truncate(count);
            chosen.extend(candidates.into_iter().map(|position| (position, kind)));
        }
        chosen.sort_by_key(|(position, _)| *position);
        chosen
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tasks::{Context, Request};

    pub(in crate::probes) fn item(context: Vec<u32>, necessary: Vec<u32>, continuation: Vec<u32>) -> Item {
        let scored = (0..continuation.len() as u32).collect();
        Item {
            id: "0".to_owned(),
            gold: None,
            contexts: vec![Context { tokens: context, necessary }],
            requests: vec![Request { context: 0, continuation, scored, characters: 1 }],
            ..Item::default()
        }
    }

    #[test]
    fn readings_are_the_rows_of_predecessors() {
        let items = [item(vec![5, 6, 7], vec![1], vec![8, 9])];
        let question = &questions(&items)[0];
        assert_eq!(question.inputs(), [5, 6, 7, 8]);
        assert_eq!(question.readings(), [(2, 8), (3, 9)]);
        assert_eq!(question.marks(), [false, true]);
    }

    #[test]
    fn drawn_tokens_are_of_both_kinds_and_never_first_or_last() {
        let items = [item((0..20).collect(), vec![0, 3, 7, 19], vec![1])];
        let question = &questions(&items)[0];
        let chosen = question.tokens_to_remove(0, 5);
        let of = |kind| chosen.iter().filter(|(_, k)| *k == kind).map(|(p, _)| *p).collect::<Vec<_>>();
        assert_eq!(of(Removed::Necessary), [3, 7]);
        assert_eq!(of(Removed::Other).len(), 5);
        assert!(chosen.iter().all(|(position, _)| (1..19).contains(position)));
        assert_eq!(chosen, question.tokens_to_remove(0, 5));
        assert_ne!(chosen, question.tokens_to_remove(1, 5));
    }
}
