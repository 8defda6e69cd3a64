//! A plan as data, and its application to a stream.

mod data;
mod site;

pub use data::{BranchMerges, Plan, SizesAfter};
pub use site::{Fork, SitePlan, apply_forks};
