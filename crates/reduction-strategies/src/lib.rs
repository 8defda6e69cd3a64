//! Token reduction strategies: one file each, plans as plain data, laws checked for all of them.
//!
//! After a block, a strategy's [`Rule`] sees the live tokens of one sequence ([`SequenceView`]) and a [`Plan`] comes out:
//! which tokens stay and where the others go. [`plan_site`] does so for every segment of a packed stream, and
//! [`SitePlan::apply`] carries it out on hidden states and residual.
//!
//! A strategy is composed of blocks, each in its file: score ([`importance`], [`rank_sum`], [`random`]), partition
//! ([`partition`]), match ([`matching`]), select ([`select`]), combine ([`combine`]). Rules that decide tokens in order:
//! [`online`].

pub mod combine;
pub mod error;
pub mod importance;
pub mod matching;
pub mod memo;
#[cfg(feature = "cuda")]
pub mod on_gpu;
pub mod online;
pub mod options;
mod pairing;
pub mod partition;
pub mod plan;
pub mod planner;
pub mod random;
pub mod rank;
pub mod rank_sum;
pub mod registry;
pub mod released;
pub mod rule;
pub mod scan_scores;
pub mod schedule;
pub mod select;
pub mod site;
mod strategies;
pub mod stream;
#[cfg(test)]
mod testing;
pub mod tokens;
pub mod view;

pub use error::PlanError;
pub use memo::Memo;
pub use plan::{BranchMerges, Plan, SizesAfter};
pub use planner::{n_left, plan_blind, plan_sequence};
pub use rule::{Causality, HostRule, Rule};
pub use site::{Fork, SitePlan, apply_forks, plan_site};
pub use stream::{Reads, SiteStream, map_sequences};
pub use tokens::{SegmentTokens, TokenTable};
pub use view::{Draw, Matrix, ScanView, SequenceView, SignalViews};
