//! Token reduction strategies: one file each, plans as plain data, laws checked for all of them.
//!
//! After a block, a strategy's [`Rule`] sees the live tokens of one sequence ([`SequenceView`]) and a [`Plan`] comes out:
//! which tokens stay and where the others go. [`plan_site`] does so for every segment of a packed stream, and
//! [`SitePlan::apply`] carries it out on hidden states and residual.
//!
//! A strategy is composed of blocks, each in its file: score ([`importance`], [`rank_sum`], [`random`]), partition
//! ([`partition`]), match ([`matching`]), select ([`select`]), combine ([`combine`]). Rules that decide tokens in order:
//! [`online`].

pub mod blocks;
mod error;
pub mod interpret;
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
pub use interpret::{n_kept, plan_blind, plan_sequence, plan_site};
pub use plan::{BranchMerges, Fork, Plan, SitePlan, SizesAfter, apply_forks};
pub use rule::{Causality, HostRule, Rule};
pub use view::{
    Draw, Matrix, Memo, Reads, ScanView, SegmentTokens, SequenceView, SignalViews, SiteStream, TokenTable,
    map_sequences,
};
