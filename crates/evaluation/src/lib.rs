//! Tasks, tokenizers and named scoring protocols, with guards that a wrong protocol fails.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use evaluation::tasks::{self, Source, Split};
//! use evaluation::tokenizer::Tokenizer;
//! use evaluation::{Reduction, Settings, Setup, evaluate, protocol};
//! use reduction_strategies::registry::Strategy;
//! use ssm_model::{LanguageModel, Placement, catalog};
//!
//! let builtin = catalog::builtin("mamba2-world").expect("a builtin model");
//! let mut checkpoint = builtin.open()?;
//! let model = LanguageModel::load(&checkpoint.config, &mut checkpoint.weights, &Placement::cpu())?;
//! let tokenizer = Tokenizer::from_json(builtin.tokenizer_json)?;
//! let task = tasks::load("world_lambada", &Source::default(), &tokenizer, Split::All, Some(2))?;
//!
//! // Half of the context's tokens are kept after layer 5.
//! let reduction = Reduction {
//!     rule: Strategy::new("drop_prefix", &BTreeMap::new())?.rule(),
//!     keep_ratio: 0.5,
//!     sites: vec![5],
//!     ..Reduction::dense()
//! };
//! let scoring = protocol::CONTEXT.defaults();
//! let setup = Setup { model: &model, kind: task.kind, items: &task.items, scoring, reduction: &reduction };
//! let evaluation = evaluate(&setup, Settings::default())?;
//!
//! assert_eq!(evaluation.items.len(), 2);
//! assert!(evaluation.items.iter().all(|item| item.tokens_kept < item.tokens_in));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod error;
mod finite;
pub mod guards;
pub mod probes;
pub mod protocol;
mod python;
mod run;
mod score;
pub mod tasks;
pub mod tokenizer;

pub use batch::{Layout, POSITIONS, Positions, Shapes, Solution};
pub use error::EvaluationError;
pub use finite::check_logits;
pub use protocol::{Protocol, Scoring};
pub use run::{
    Prefilled, Reduction, SIGNAL_FROM, Settings, Setup, SignalFrom, evaluate, evaluate_oracle, evaluate_span, executor,
    forward, influence, prefill,
};
pub use score::{
    ChoiceScore, Counts, Evaluation, ItemPlan, ItemScore, Partial, ScoredTarget, SiteTotals, Work, metrics,
};
