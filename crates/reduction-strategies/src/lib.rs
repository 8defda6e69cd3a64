//! Token reduction strategies: one file each, plans as plain data, laws checked for all of them.
//!
//! After a block, a strategy's [`Rule`] sees the live tokens of one sequence ([`SequenceView`]) and a [`Plan`] comes out:
//! which tokens are kept and where the others go. [`plan_site`] does so for every segment of a packed stream, and
//! [`SitePlan::apply`] carries it out on hidden states and residual.
//!
//! A strategy is composed of [`blocks`], each in its file: score ([`importance`](blocks::importance),
//! [`rank_sum`](blocks::rank_sum), [`random`](blocks::random)), [`partition`](blocks::partition),
//! [match](blocks::matching), [`select`](blocks::select), [`combine`](blocks::combine). Rules that decide tokens in order:
//! [`online`](blocks::online).
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use reduction_strategies::registry::Strategy;
//! use reduction_strategies::{Draw, Matrix, SegmentTokens, SequenceView, plan_sequence};
//! use reduction_strategies::options::OptionValue;
//! use ssm_model::Signal;
//!
//! // `top_k` by the norm of what the scan wrote for each token.
//! let options = BTreeMap::from([("importance".to_owned(), OptionValue::Word("l2".to_owned()))]);
//! let rule = Strategy::new("top_k", &options)?.rule();
//!
//! // Four tokens of width 2; the last one is protected, as the token that predicts the answer is.
//! let tokens = SegmentTokens::reducible(0, 4).with_last_protected();
//! let values = [3.0, 4.0, 0.1, 0.0, 1.0, 1.0, 0.0, 0.0];
//! let hidden = Matrix { values: &values, rows: 4, columns: 2 };
//! let view = SequenceView::new(&tokens, hidden, hidden, Draw::default()).with_signal(Signal::SsmOutput, hidden);
//!
//! // A keep ratio of 0.5 keeps two of the three others: the one with the smallest norm is removed.
//! let plan = plan_sequence(&rule, &view, 0.5)?;
//! assert_eq!(plan.keep(), [0, 2, 3]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod blocks;
mod error;
pub mod interpret;
pub mod laws;
pub mod options;
mod plan;
pub mod registry;
pub mod rule;
pub mod schedule;
pub mod spelling;
mod strategies;
#[cfg(test)]
mod testing;
pub mod vectors;
mod view;

pub use error::PlanError;
pub use interpret::{n_kept, n_kept_of, plan_blind, plan_sequence, plan_site};
pub use plan::{BranchMerges, Fork, Plan, SitePlan, SizesAfter, apply_forks};
pub use rule::{Causality, Count, DeviceRule, HostRule, Rule};
pub use view::{
    Draw, Matrix, Memo, Owners, Reads, ScanView, SegmentTokens, SequenceView, SignalViews, SiteStream, Stop,
    TokenTable, map_sequences, positions_of,
};
