//! The runner behind the binary `sweep`: config, plan, run, record, analyse, report.

pub mod analyse;
pub mod config;
pub mod plan;
pub mod record;
pub mod report;
