//! A task under a protocol, laid out in the order in which it is evaluated and recorded, and cut into groups.

use std::ops::Range;

use super::pack::{Batch, batch, pack};
use super::queries::queries;
use super::query::Query;
use super::unit::Unit;
use crate::error::EvaluationError;
use crate::protocol::Scoring;
use crate::run::Reduction;
use crate::tasks::{Item, TaskKind};

/// The sequences of all items of a task under a protocol. Cells that share a layout differ in the reduction alone.
///
/// A layout is a list of *units*: a context with its continuations, or one padded row. What a unit gives does not depend on the
/// others, so that a layout can be evaluated in any number of stretches and be put together again ([`Layout::evaluation`]).
#[derive(Debug)]
pub struct Layout {
    kind: TaskKind,
    pub(crate) scoring: Scoring,
    pub(crate) queries: Vec<Query>,
    pub(crate) units: Vec<Unit>,
    pub(crate) n_items: usize,
}

impl Layout {
    /// Lays the items out.
    #[must_use]
    pub fn new(kind: TaskKind, items: &[Item], scoring: Scoring) -> Self {
        let queries = queries(kind, items, scoring.protocol().scope);
        let units = scoring.units(&queries);
        Self { kind, scoring, queries, units, n_items: items.len() }
    }

    /// How it is scored.
    #[must_use]
    pub fn scoring(&self) -> Scoring {
        self.scoring
    }

    /// Refuses a reduction under which the scores of this task would mean something else than they say.
    pub(crate) fn check(&self, reduction: &Reduction) -> Result<(), EvaluationError> {
        self.scoring.protocol().check(self.kind, reduction)
    }

    /// All units.
    #[must_use]
    pub fn whole(&self) -> Range<usize> {
        0..self.units.len()
    }

    /// Tokens that enter the model in some units.
    #[must_use]
    pub fn tokens(&self, span: Range<usize>) -> usize {
        self.units[span].iter().map(Unit::tokens).sum()
    }

    /// Cuts the layout into stretches of at most about `tokens` tokens: a longer unit stands alone, and the rows that `upstream`
    /// pads together stay together. Depends on nothing but the items, the protocol and `tokens`.
    #[must_use]
    pub fn spans(&self, tokens: usize) -> Vec<Range<usize>> {
        let step = self.scoring.padded_rows();
        let mut spans: Vec<Range<usize>> = Vec::new();
        let mut size = 0;
        for start in (0..self.units.len()).step_by(step) {
            let end = (start + step).min(self.units.len());
            let length = self.tokens(start..end);
            match spans.last_mut() {
                Some(span) if size + length <= tokens => span.end = end,
                _ => {
                    spans.push(start..end);
                    size = 0;
                }
            }
            size += length;
        }
        spans
    }

    /// Batches of at most about `max_tokens` rows (a single unit may exceed it); `upstream` has its own.
    pub(crate) fn batches(&self, span: Range<usize>, max_tokens: usize) -> Result<Vec<Batch>, EvaluationError> {
        let units = &self.units[span];
        if self.scoring.protocol().pads() {
            units.chunks(self.scoring.padded_rows()).map(batch).collect()
        } else {
            pack(units, max_tokens)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ALIGNED, CONTEXT, UPSTREAM};
    use crate::tasks::{Context, Request};

    fn items(lengths: &[usize]) -> Vec<Item> {
        let item = |length: &usize| Item {
            id: length.to_string(),
            gold: Some(0),
            contexts: vec![Context { tokens: vec![1; *length], necessary: Vec::new() }],
            requests: vec![Request { context: 0, continuation: vec![1], scored: vec![0], characters: 1 }; 2],
            ..Item::default()
        };
        lengths.iter().map(item).collect()
    }

    #[test]
    fn spans_follow_the_budget_and_a_long_unit_stands_alone() {
        let layout = Layout::new(TaskKind::MultipleChoice, &items(&[5, 5, 30, 4, 6, 1]), CONTEXT.defaults());
        assert_eq!(layout.spans(10), [0..2, 2..3, 3..5, 5..6]);
        assert_eq!(layout.spans(usize::MAX), [layout.whole()]);
        assert_eq!(layout.spans(0).len(), 6);
        assert_eq!(layout.tokens(1..3), 35);
    }

    #[test]
    fn rows_that_are_padded_together_stay_together() {
        let layout = Layout::new(TaskKind::MultipleChoice, &items(&[5, 5, 5, 5]), UPSTREAM.with_batch_size(3));
        assert_eq!(layout.spans(0), [0..3, 3..6, 6..8]);
        assert_eq!(layout.spans(30), [0..6, 6..8]);
    }

    #[test]
    fn nothing_has_no_spans() {
        assert!(Layout::new(TaskKind::MultipleChoice, &[], ALIGNED.defaults()).spans(10).is_empty());
    }
}
