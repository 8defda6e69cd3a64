//! `report`: figures, tables and a page of text from recorded cells alone.
//!
//! Every figure is drawn once as SVG; PDF and PNG are conversions of that file, with fonts that belong to the program.

mod axes;
mod canvas;
mod claim;
mod convert;
mod error;
mod figures;
mod guards;
mod markdown;
mod splice;
mod style;
mod tables;
mod view;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use error::ReportError;
pub use splice::{check_document, splice};

use crate::analyse;
use crate::record::files::{self, Durability};

/// What [`run`] read and wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportSummary {
    /// Name of the experiment.
    pub experiment: String,
    /// The page of text.
    pub report: PathBuf,
    /// The verdict on the experiment's claim, to be put into documents; none where it makes none.
    pub verdict: Option<PathBuf>,
    /// Files below `figures/`.
    pub figures: Vec<PathBuf>,
    /// Files below `tables/`.
    pub tables: Vec<PathBuf>,
    /// Frames, which are brought up to date first.
    pub frames: Vec<PathBuf>,
    /// Cells that finished.
    pub done: usize,
    /// Cells that stopped with an error.
    pub failed: usize,
    /// Planned cells that are not on disk.
    pub unfinished: usize,
}

/// Analyses a results folder and writes `figures/`, `tables/` and `report.md` into it.
///
/// # Errors
///
/// If the folder cannot be analysed, or a figure or file cannot be written.
pub fn run(dir: &Path) -> Result<ReportSummary, ReportError> {
    canvas::register_fonts();
    let (study, analysis) = analyse::study_and_write(dir)?;
    let view = view::view(&study);
    let mut figures = figures::draw_all(&study, &view)?;
    distinct(figures.iter_mut().map(|figure| &mut figure.name));
    let mut tables = tables::all(&study, &view);
    distinct(tables.iter_mut().map(|table| &mut table.name));
    let page = markdown::page(&study, &analysis, &view, &figures, &tables);
    Ok(ReportSummary {
        experiment: study.plan.experiment.clone(),
        figures: write_figures(&figures, &dir.join("figures"))?,
        tables: write_tables(&tables, &dir.join("tables"))?,
        report: write(dir, "report.md", page.as_bytes())?,
        verdict: study
            .claim
            .as_ref()
            .map(|result| write(dir, "verdict.md", claim::text(result).as_bytes()))
            .transpose()?,
        frames: analysis.files,
        done: analysis.done,
        failed: analysis.failed,
        unfinished: analysis.unfinished,
    })
}

/// Two models of one short name must not write to one file: the second is numbered.
fn distinct<'a>(names: impl Iterator<Item = &'a mut String>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for name in names {
        let count = seen.entry(name.clone()).or_insert(0);
        *count += 1;
        if *count > 1 {
            *name = format!("{name}-{count}");
        }
    }
}

fn write_tables(tables: &[tables::Table], folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let mut files = Vec::new();
    for table in tables {
        files.push(write(folder, &format!("{}.md", table.name), table.markdown().as_bytes())?);
        files.push(write(folder, &format!("{}.csv", table.name), table.csv().as_bytes())?);
        files.push(write(folder, &format!("{}.tex", table.name), table.latex().as_bytes())?);
    }
    Ok(files)
}

fn write_figures(figures: &[figures::Figure], folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let files = figures
        .par_iter()
        .map(|figure| {
            let rendered = convert::convert(figure.svg.clone())
                .map_err(|reason| ReportError::Draw { figure: figure.name.clone(), reason })?;
            Ok(vec![
                write(folder, &format!("{}.svg", figure.name), rendered.svg.as_bytes())?,
                write(folder, &format!("{}.pdf", figure.name), &rendered.pdf)?,
                write(folder, &format!("{}.png", figure.name), &rendered.png)?,
                write(folder, &format!("{}.csv", figure.name), figure.csv.as_bytes())?,
            ])
        })
        .collect::<Result<Vec<_>, ReportError>>()?;
    Ok(files.into_iter().flatten().collect())
}

/// Written beside and renamed, so that a reader never sees half a file.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, ReportError> {
    let path = folder.join(name);
    fs::create_dir_all(folder)
        .and_then(|()| files::write(&path, bytes, Durability::Plain))
        .map_err(|source| ReportError::Write { path: path.clone(), source })?;
    Ok(path)
}
