//! The runner of the binary `sweep`: config, plan, run, record. What reads the results needs no engine: the crates `analysis` and `report`.
//!
//! ```text
//! experiments/*.yaml -> config -> plan -> run -> record -> analysis -> report
//! ```
//!
//! ```
//! use sweep_runner::library::Library;
//! use sweep_runner::{config, plan};
//!
//! let library = Library::new();
//! let experiment = "
//! name: example
//! models: [builtin:mamba2-world]
//! tasks: [world_lambada]
//! protocols: [context]
//! strategies: [dense, random, { top_k: { importance: clip } }]
//! schedule: { sites: paper, flops_reduction: [0.1, 0.2] }
//! limit: 50
//! ";
//! let experiment = config::load_str("example.yaml", experiment, &library)?;
//! let plan = plan::build(&experiment, &plan::Setting::default(), &library)?;
//! // `dense` once, the two rules at two reductions.
//! assert_eq!(plan.cells.len(), 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bench;
pub mod cli;
pub mod code;
pub mod config;
mod home;
pub mod library;
pub mod plan;
pub mod rates;
pub mod record;
pub mod run;
mod say;
mod submit;
