//! From rows to results: readings, scored targets, items, metrics, and the record of what strategies did.

mod answer;
mod bits;
mod evaluation;
mod item;
pub mod metrics;
mod partial;
mod reading;
mod scorer;
mod target;
mod trace;
mod work;

pub use evaluation::Evaluation;
pub use item::{ChoiceScore, ItemScore};
pub use partial::Partial;
pub use target::ScoredTarget;
pub use trace::{ItemPlan, SiteTotals};
pub use work::{Counts, Work};

pub(crate) use answer::Answer;
pub(crate) use reading::{After, Reading};
pub(crate) use scorer::{HEAD_ROWS, Scorer, score};
pub(crate) use trace::{Decision, Step};
