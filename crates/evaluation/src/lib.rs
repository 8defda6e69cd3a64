//! Tasks, tokenizers and named scoring protocols, with guards that a wrong protocol fails.

mod batch;
mod error;
mod finite;
pub mod guards;
pub mod probes;
pub mod protocol;
mod run;
mod score;
pub mod tasks;
pub mod tokenizer;

pub use batch::{Layout, POSITIONS, Positions};
pub use error::EvaluationError;
pub use finite::check_logits;
pub use protocol::{Protocol, Scoring};
pub use run::{
    Prefilled, Reduction, Settings, Setup, evaluate, evaluate_oracle, evaluate_span, executor, forward, influence,
    prefill,
};
pub use score::{ChoiceScore, Evaluation, ItemPlan, ItemScore, Partial, ScoredTarget, SiteTotals, Work, metrics};
