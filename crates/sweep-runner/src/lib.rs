//! The runner behind the binary `sweep`: config, plan, run, record, analyse, report.
//!
//! ```text
//! experiments/*.yaml -> config -> plan -> run -> record -> analyse -> report
//! ```

pub mod analyse;
pub mod bench;
pub mod cli;
pub mod code;
pub mod config;
mod home;
pub mod library;
pub mod lm_eval;
pub mod plan;
pub mod record;
pub mod report;
pub mod run;
mod say;
mod submit;
mod text;
