//! The frames of an experiment, one file each; their columns are a contract with everybody who reads Parquet.

mod claims;
mod items;
mod probes;
mod sites;
mod trials;

use std::path::{Path, PathBuf};

use polars::prelude::*;
use records::files::{self, Durability};

use super::error::AnalyseError;
use super::overlaps::{mean_overlaps, overlaps};
use super::study::Study;

/// Builds and writes all frames; returns the files and the number of rows of `trials`.
pub(super) fn write_all(study: &Study, dir: &Path) -> Result<(Vec<PathBuf>, usize), AnalyseError> {
    let pairs = overlaps(study);
    let named = |frame: &'static str| move |source| AnalyseError::Frame { frame: frame.to_owned(), source };
    let mut trials = trials::frame(study).map_err(named("trials"))?;
    let rows = trials.height();
    let mut files = vec![write_parquet("trials", &mut trials, dir)?, write_csv("trials", &mut trials, dir)?];
    drop(trials);
    let builders: [(&'static str, PolarsResult<DataFrame>); 4] = [
        ("items", items::items(study)),
        ("item_metrics", items::item_metrics(study)),
        ("sites", sites::sites(study, &mean_overlaps(&pairs))),
        ("overlaps", sites::overlaps(&pairs)),
    ];
    let claims = study.claim.as_ref().map(|claim| ("claims", claims::frame(study, claim)));
    for (name, frame) in builders.into_iter().chain(claims) {
        files.push(write_parquet(name, &mut frame.map_err(named(name))?, dir)?);
    }
    for (name, frame) in probes::frames(&study.probes) {
        let mut frame = frame.map_err(|source| AnalyseError::Frame { frame: name.clone(), source })?;
        files.push(write_parquet(&name, &mut frame, dir)?);
    }
    Ok((files, rows))
}

/// NaN means "no value" to the statistics and null to a reader of the frame.
fn known(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}

fn write_parquet(frame: &str, data: &mut DataFrame, dir: &Path) -> Result<PathBuf, AnalyseError> {
    let mut bytes = Vec::new();
    let named = |source| AnalyseError::Frame { frame: frame.to_owned(), source };
    ParquetWriter::new(&mut bytes).finish(data).map_err(named)?;
    write_aside(dir.join(format!("{frame}.parquet")), &bytes)
}

fn write_csv(frame: &str, data: &mut DataFrame, dir: &Path) -> Result<PathBuf, AnalyseError> {
    let mut bytes = Vec::new();
    let named = |source| AnalyseError::Frame { frame: frame.to_owned(), source };
    CsvWriter::new(&mut bytes).finish(data).map_err(named)?;
    write_aside(dir.join(format!("{frame}.csv")), &bytes)
}

/// Written beside and renamed, so that a reader never sees half a file.
fn write_aside(path: PathBuf, bytes: &[u8]) -> Result<PathBuf, AnalyseError> {
    files::write(&path, bytes, Durability::Plain)
        .map_err(|source| AnalyseError::Write { path: path.clone(), source })?;
    Ok(path)
}
