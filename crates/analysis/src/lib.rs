//! From recorded cells to statistics and frames, on any laptop, without a model.
//!
//! [`study()`] opens a results folder: every metric of every cell with its 95 % interval and its paired difference to the baseline, the
//! probes, and the claim of the experiment with its verdict. [`frames()`] gives the same numbers as polars frames, [`run`] writes them as
//! Parquet. [`compare`] pairs two folders, [`rank`] ranks the rules of one, [`lm_eval`] writes the files of lm-evaluation-harness. Formulas: `docs/statistics.md`.
//!
//! Everything is a function of the records and the experiment's seed; two runs write the same bytes.
//!
//! ```
//! # let cell = |strategy: &str, right: [bool; 4]| {
//! #     let items = right.iter().enumerate().map(|(item, right)| serde_json::json!({
//! #         "item_id": format!("q{item}"), "gold": 0, "predicted": u32::from(!right), "correct": right, "loglikelihoods": [-1.0, -2.0],
//! #         "greedy": [true, false], "tokens_in": 20, "tokens_kept": 18, "necessary_kept": null, "coverage": 1.0,
//! #     }));
//! #     serde_json::json!({
//! #         "schema_version": records::schema::SCHEMA_VERSION, "cell_id": strategy, "task": "questions", "primary_metric": "acc",
//! #         "status": "done", "error": null,
//! #         "trial": {
//! #             "trial_id": strategy, "experiment": "example", "model": "m", "strategy": strategy, "strategy_params": "{}",
//! #             "importance": null, "importance_source": null, "schedule": "paper", "sites": [], "keep_ratio": 1.0,
//! #             "flops_reduction_nominal": 0.0, "protocol": "context", "seed": 0, "limit": null, "device": "cpu", "dtype": "f32",
//! #         },
//! #         "cost": {
//! #             "flops_reduction_achieved": 0.0, "flops_executed": 1.0, "tokens_in": 80, "tokens_per_s": 1.0, "peak_mem_bytes": 1,
//! #             "wall_s": 1.0,
//! #         },
//! #         "metrics": [{
//! #             "metric": "acc", "aggregate": "mean",
//! #             "contributions": right.map(|right| (f64::from(u8::from(right)), 1.0)),
//! #         }],
//! #         "items": items.collect::<Vec<_>>(), "sites": [], "plans": [], "plan_items": [],
//! #     })
//! # };
//! # let folder = std::env::temp_dir().join(format!("analysis-example-{}", std::process::id()));
//! # std::fs::create_dir_all(folder.join("cells"))?;
//! # std::fs::write(folder.join("plan.json"), r#"{ "experiment": "example", "cells": ["dense", "random"] }"#)?;
//! # std::fs::write(folder.join("cells/dense.json"), cell("dense", [true; 4]).to_string())?;
//! # std::fs::write(folder.join("cells/random.json"), cell("random", [true, true, false, true]).to_string())?;
//! // `folder` is a results folder: four questions under `dense` and under `random`.
//! let study = analysis::study(&folder)?;
//! let metric = &study.cells[1].metrics[0];
//! assert_eq!((metric.metric.as_str(), metric.estimate.value, metric.estimate.n), ("acc", 0.75, 4));
//! assert!(metric.estimate.interval.low < 0.75 && 0.75 < metric.estimate.interval.high);
//!
//! let to_dense = metric.difference.expect("the baseline finished");
//! assert_eq!(to_dense.value, -0.25);
//! assert!(to_dense.interval.low <= -0.25 && -0.25 <= to_dense.interval.high && to_dense.p_value > 0.05);
//!
//! let frames = analysis::frames(&study)?;
//! let trials = &frames.iter().find(|frame| frame.name == "trials").expect("always there").data;
//! assert_eq!(trials.height(), 2);
//! assert_eq!(trials.column("diff")?.f64()?.get(1), Some(-0.25));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arms;
mod basis;
mod bridge;
mod claim;
pub mod compare;
mod error;
mod frames;
mod input;
pub mod items;
mod labels;
pub mod lm_eval;
mod overlaps;
mod partners;
mod pooled;
mod probes;
pub mod rank;
mod statistics;
mod study;
mod terms;

use std::path::{Path, PathBuf};

pub use arms::{Arm, ArmCost, ArmTask, NoValue, TaskMean, arms, comparable};
pub use basis::Basis;
pub use bridge::{BridgeArm, BridgePanel, BridgeResult, BridgeScore, bridges};
pub use claim::{ClaimResult, ComparisonResult};
pub use error::AnalyseError;
pub use frames::{Frame, frames};
pub use labels::{Labels, model_name, rule, task_names};
pub use pooled::{OnModel, Pooled, PooledEffect};
pub use probes::{PooledRow, ProbeSet, Probes};
pub use statistics::{
    Decision, Difference, Estimate, Interval, JOINT_LEVEL, Verdict, difference_of_replicates, median,
};
pub use study::{Cell, MetricEstimate, Study, study};
pub use terms::{MARK, NOT_COMPARED, Terms, are_equal, comparable_set};

/// What [`run`] read and wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Analysis {
    /// Frames written, in a fixed order.
    pub files: Vec<PathBuf>,
    /// Cells that finished.
    pub done: usize,
    /// Cells that stopped with an error.
    pub failed: usize,
    /// Planned cells that are not on disk.
    pub unfinished: usize,
    /// Rows of `trials.parquet`.
    pub rows: usize,
}

/// Reads `plan.json` and the recorded cells of a results folder and writes its frames.
///
/// # Errors
///
/// If the folder holds no plan or no cell, if a record is damaged, or if a frame cannot be written.
pub fn run(dir: &Path) -> Result<Analysis, AnalyseError> {
    let (_, analysis) = study_and_write(dir)?;
    Ok(analysis)
}

/// As [`run`], and hands on the statistics, so that a report shows the very numbers of the frames.
///
/// # Errors
///
/// As [`run`].
pub fn study_and_write(dir: &Path) -> Result<(Study, Analysis), AnalyseError> {
    let study = study(dir)?;
    let (files, rows) = frames::write_all(&study, dir)?;
    let done = study.cells.iter().filter(|cell| cell.is_done()).count();
    let failed = study.cells.len() - done;
    let analysis = Analysis { files, done, failed, unfinished: study.unfinished, rows };
    Ok((study, analysis))
}
