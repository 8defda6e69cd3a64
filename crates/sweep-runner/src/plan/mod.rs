//! What a sweep will do, before it does it: an [`Experiment`](crate::config::Experiment) multiplied out into cells with ids and estimates.
//!
//! A *trial* is one point of the grid (model, protocol, strategy, schedule, seed); a *cell* is one trial on one task.
//! Cells are ordered by model, then trial, then task, so that a model is loaded once. Ids hash everything that can change
//! a result and nothing else: neither the experiment's name nor the order of its lists.

mod achieved;
mod bridge;
mod build;
mod calibrated;
mod claim;
mod claim_rows;
mod error;
mod estimate;
mod grid;
mod ids;
mod matching;
mod probes;
mod render;
mod sample;
#[cfg(test)]
mod tests;
mod types;

pub use achieved::TOLERANCE;
pub use build::build;
pub use calibrated::Request;
pub use error::{GridError, MAX_CELLS, Missed};
pub use estimate::{ASSUMED_CPU_FLOPS_PER_S, ASSUMED_CUDA_FLOPS_PER_S, Estimate};
pub use probes::ProbeCell;
pub use render::{to_json, write_table};
pub use types::{Cell, Excluded, ExperimentPlan, PlannedTrial, Reason, Setting};
