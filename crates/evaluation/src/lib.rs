//! Tasks, tokenizers and named scoring protocols, with guards that a wrong protocol fails.

mod drive;
mod error;
mod evaluate;
pub mod executor;
mod finite;
pub mod guards;
pub mod influence;
mod layout;
pub mod metrics;
mod outcome;
mod partial;
mod positions;
pub mod probes;
mod protocol;
mod query;
mod score;
pub mod tasks;
pub mod tokenizer;
mod trace;

pub use drive::{Prefilled, Reduction, forward, prefill};
pub use error::EvaluationError;
pub use evaluate::{
    ChoiceScore, Evaluation, ItemScore, Settings, Setup, Work, evaluate, evaluate_oracle, evaluate_span,
};
pub use finite::check_logits;
pub use layout::Layout;
pub use partial::Partial;
pub use positions::{POSITIONS, Positions};
pub use protocol::{Protocol, Refusal};
pub use score::ScoredTarget;
pub use trace::{ItemPlan, SiteTotals};
