//! The frames of an experiment, one file each; their columns are a contract with everybody who reads Parquet.

mod bridges;
mod claims;
mod items;
mod plans;
mod probes;
mod sites;
mod trial_axes;
mod trials;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use polars::prelude::*;
use records::files::{self, Durability};

use super::bridge;
use super::error::AnalyseError;
use super::overlaps::{mean_overlaps, overlaps};
use super::study::Study;

/// A frame with the name of its file.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Name without ending: `trials`, `items`, `probe_similarity`.
    pub name: String,
    /// The rows. Columns: `results/README.md`.
    pub data: DataFrame,
}

/// All frames of a study, `trials` first.
///
/// # Errors
/// [`AnalyseError::Frame`]: polars cannot build one.
pub fn frames(study: &Study) -> Result<Vec<Frame>, AnalyseError> {
    builders(study).into_iter().map(Builder::build).collect()
}

/// Builds and writes all frames; returns the files and the number of rows of `trials`.
pub(super) fn write_all(study: &Study, dir: &Path) -> Result<(Vec<PathBuf>, usize), AnalyseError> {
    let (mut files, mut rows) = (Vec::new(), 0);
    // One after the other, so that one alone is in memory.
    for builder in builders(study) {
        let mut frame = builder.build()?;
        files.push(write_parquet(&mut frame, dir)?);
        if frame.name == TRIALS {
            rows = frame.data.height();
            files.push(write_csv(&mut frame, dir)?);
        }
    }
    Ok((files, rows))
}

/// The one frame that is written as CSV too.
const TRIALS: &str = "trials";

/// A frame that is not built yet.
struct Builder<'a> {
    name: String,
    build: Box<dyn FnOnce() -> PolarsResult<DataFrame> + 'a>,
}

impl<'a> Builder<'a> {
    fn new(name: impl Into<String>, build: impl FnOnce() -> PolarsResult<DataFrame> + 'a) -> Self {
        Self { name: name.into(), build: Box::new(build) }
    }

    fn build(self) -> Result<Frame, AnalyseError> {
        match (self.build)() {
            Ok(data) => Ok(Frame { name: self.name, data }),
            Err(source) => Err(AnalyseError::Frame { frame: self.name, source }),
        }
    }
}

fn builders(study: &Study) -> Vec<Builder<'_>> {
    let pairs = Rc::new(overlaps(study));
    let own = Rc::clone(&pairs);
    let mut all = vec![
        Builder::new(TRIALS, || trials::frame(study)),
        Builder::new("trial_axes", || trial_axes::frame(study)),
        Builder::new("items", || items::items(study)),
        Builder::new("item_metrics", || items::item_metrics(study)),
        Builder::new("plans", || plans::plans(study)),
        Builder::new("sites", move || sites::sites(study, &mean_overlaps(&own))),
        Builder::new("overlaps", move || sites::overlaps(&pairs)),
    ];
    if !study.task_items.is_empty() {
        all.push(Builder::new("task_items", || plans::task_items(study)));
    }
    if let Some(claim) = &study.claim {
        all.push(Builder::new("claims", || claims::frame(study, claim)));
        all.push(Builder::new("claim_effects", || claims::effects(study, claim)));
    }
    if !study.plan.bridges.is_empty() {
        all.push(Builder::new("bridges", || bridges::frame(study, &bridge::bridges(study))));
    }
    all.extend(
        probes::sets(&study.probes).into_iter().map(|(name, sets)| Builder::new(name, move || probes::frame(&sets))),
    );
    all
}

/// NaN means "no value" to the statistics and null to a reader of the frame.
fn known(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}

fn write_parquet(frame: &mut Frame, dir: &Path) -> Result<PathBuf, AnalyseError> {
    let mut bytes = Vec::new();
    let finished = ParquetWriter::new(&mut bytes).finish(&mut frame.data);
    finished.map_err(|source| AnalyseError::Frame { frame: frame.name.clone(), source })?;
    write_aside(dir.join(format!("{}.parquet", frame.name)), &bytes)
}

fn write_csv(frame: &mut Frame, dir: &Path) -> Result<PathBuf, AnalyseError> {
    let mut bytes = Vec::new();
    let finished = CsvWriter::new(&mut bytes).finish(&mut frame.data);
    finished.map_err(|source| AnalyseError::Frame { frame: frame.name.clone(), source })?;
    write_aside(dir.join(format!("{}.csv", frame.name)), &bytes)
}

/// Written aside and renamed, so that a reader never sees half a file.
fn write_aside(path: PathBuf, bytes: &[u8]) -> Result<PathBuf, AnalyseError> {
    files::write(&path, bytes, Durability::Plain)
        .map_err(|source| AnalyseError::Write { path: path.clone(), source })?;
    Ok(path)
}
