//! What a stretch of a layout gave one cell: a piece of an evaluation that can be kept and put together with others.

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::trace::Traces;
use super::work::Work;

/// The outcome of some consecutive units of a [`Layout`](crate::Layout) for one cell.
///
/// Nothing is summed that depends on the order of summing, and it is written with all its bits: evaluations assembled from parts are
/// those of cells that ran in one piece.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Partial {
    pub(crate) answers: Vec<Answer>,
    /// Item, tokens in, tokens kept: one entry per unit, about.
    pub(crate) tokens: Vec<(usize, u64, u64)>,
    pub(crate) work: Work,
    pub(crate) traces: Traces,
}

impl Partial {
    /// This stretch and the one that follows it in the layout.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        self.answers.extend(next.answers);
        self.tokens.extend(next.tokens);
        self.work = self.work + next.work;
        self.traces.append(next.traces);
        self
    }
}
