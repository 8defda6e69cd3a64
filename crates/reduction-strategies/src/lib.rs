//! Token reduction strategies: one file each, plans as plain data, laws checked for all of them.

pub mod options;
pub mod registry;
pub mod rule;
pub mod schedule;
mod strategies;
