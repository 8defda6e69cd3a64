//! `analyse`: from recorded cells to statistics and frames, on any laptop, without a model.
//!
//! Everything is a function of the records and the experiment's seed; two runs write the same bytes.

mod arms;
mod claim;
pub mod compare;
mod error;
mod frames;
mod input;
mod overlaps;
mod partners;
mod probes;
mod statistics;
mod study;
mod terms;

use std::path::{Path, PathBuf};

pub use error::AnalyseError;

pub(crate) use arms::{Arm, ArmTask, TaskMean, arms, comparable};
pub(crate) use claim::{ClaimResult, ComparisonResult};
pub(crate) use input::read as recorded;
pub(crate) use probes::{PooledRow, ProbeSet, Probes};
pub(crate) use statistics::{
    Contributions, Difference, Estimate, Interval, JOINT_LEVEL, Verdict, difference_of_replicates, mean_stderr,
};
pub(crate) use study::{Cell, Study};
pub(crate) use terms::{MARK, NOT_COMPARED, Terms, are_equal, comparable_set};

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
pub(crate) fn study_and_write(dir: &Path) -> Result<(Study, Analysis), AnalyseError> {
    let study = study::study(dir)?;
    let (files, rows) = frames::write_all(&study, dir)?;
    let done = study.cells.iter().filter(|cell| cell.is_done()).count();
    let failed = study.cells.len() - done;
    let analysis = Analysis { files, done, failed, unfinished: study.unfinished, rows };
    Ok((study, analysis))
}
