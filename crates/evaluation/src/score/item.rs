//! Scores of an item and of its choices.

use super::target::ScoredTarget;

/// Scores of one choice (or of the single target).
#[derive(Clone, Debug, PartialEq)]
pub struct ChoiceScore {
    /// Summed log-probability of the scored tokens.
    pub loglikelihood: f64,
    /// Whether every scored token is the greedy one.
    pub greedy: bool,
    /// The scored tokens, ascending.
    pub tokens: Vec<ScoredTarget>,
    /// Tokens of the context, which a target's index does not count.
    pub context_len: usize,
    /// Scored tokens that were asked for; `upstream` may return fewer.
    pub asked: usize,
    /// Of them, those read from the row of their true predecessor.
    pub covered: usize,
}

/// Scores of one item.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemScore {
    /// One entry per choice.
    pub choices: Vec<ChoiceScore>,
    /// Tokens that entered the model for this item.
    pub tokens_in: u64,
    /// Tokens alive after the last layer.
    pub tokens_kept: u64,
    /// Share of the necessary context tokens alive after the last layer, mean over choices; none where none is marked.
    pub necessary_kept: Option<f64>,
}
