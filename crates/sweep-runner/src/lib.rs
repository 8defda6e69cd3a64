//! The runner of the binary `sweep`: config, plan, run, record. What reads the results needs no engine: the crates `analysis` and `report`.
//!
//! ```text
//! experiments/*.yaml -> config -> plan -> run -> record -> analysis -> report
//! ```

pub mod bench;
pub mod cli;
pub mod code;
pub mod config;
mod home;
pub mod library;
pub mod plan;
pub mod record;
pub mod run;
mod say;
mod submit;
