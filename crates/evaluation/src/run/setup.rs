//! What an evaluation is asked to do, and how it runs.

use ssm_model::LanguageModel;

use super::reduction::Reduction;
use crate::protocol::Scoring;
use crate::tasks::{Item, TaskKind};

/// What an evaluation is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The model.
    pub model: &'a LanguageModel,
    /// How the items are scored.
    pub kind: TaskKind,
    /// The items.
    pub items: &'a [Item],
    /// Under which protocol, with its settings.
    pub scoring: Scoring,
    /// Which tokens are removed.
    pub reduction: &'a Reduction,
}

/// How an evaluation runs; none of it changes a score (save that `upstream` fixes its own batches).
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Rows of a packed batch, about.
    pub max_tokens: usize,
    /// Items whose plans are recorded.
    pub recorded_plans: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_tokens: 1024, recorded_plans: 0 }
    }
}
