//! Figures, tables and a page of text from recorded cells alone.
//!
//! [`run`] reads a results folder and writes `figures/`, `tables/` and `report.md` into it. [`draw`] gives the figures of a
//! [`Study`] without writing anything. Every figure is drawn once as SVG; PDF and PNG are conversions of that file, with fonts that
//! belong to the program.
//!
//! ```
//! # let cell = |strategy: &str, removed: f64, right: [bool; 4]| {
//! #     let items = right.iter().enumerate().map(|(item, right)| serde_json::json!({
//! #         "item_id": format!("q{item}"), "gold": 0, "predicted": u32::from(!right), "correct": right, "loglikelihoods": [-1.0, -2.0],
//! #         "greedy": [true, false], "tokens_in": 20, "tokens_kept": 18, "necessary_kept": null, "coverage": 1.0,
//! #     }));
//! #     serde_json::json!({
//! #         "schema_version": records::schema::SCHEMA_VERSION, "cell_id": format!("{strategy}{removed}"), "task": "questions",
//! #         "primary_metric": "acc", "status": "done", "error": null,
//! #         "trial": {
//! #             "trial_id": format!("{strategy}{removed}"), "experiment": "example", "model": "m", "strategy": strategy,
//! #             "strategy_params": "{}", "importance": null, "importance_source": null, "schedule": "paper", "sites": [],
//! #             "keep_ratio": 1.0, "flops_reduction_nominal": removed, "protocol": "context", "seed": 0, "limit": null,
//! #             "device": "cpu", "dtype": "f32",
//! #         },
//! #         "cost": {
//! #             "flops_reduction_achieved": removed, "flops_executed": 1.0, "tokens_in": 80, "tokens_per_s": 1.0,
//! #             "peak_mem_bytes": 1, "wall_s": 1.0,
//! #         },
//! #         "metrics": [{
//! #             "metric": "acc", "aggregate": "mean",
//! #             "contributions": right.map(|right| (f64::from(u8::from(right)), 1.0)),
//! #         }],
//! #         "items": items.collect::<Vec<_>>(), "sites": [], "plans": [], "plan_items": [],
//! #     })
//! # };
//! # let folder = std::env::temp_dir().join(format!("report-example-{}", std::process::id()));
//! # std::fs::create_dir_all(folder.join("cells"))?;
//! # std::fs::write(folder.join("plan.json"), r#"{ "experiment": "example",
//! #     "cells": ["dense0", "random0.1", "random0.2"], "strategies": { "dense": "baseline", "random": "control" } }"#)?;
//! # std::fs::write(folder.join("cells/dense0.json"), cell("dense", 0.0, [true; 4]).to_string())?;
//! # std::fs::write(folder.join("cells/random0.1.json"), cell("random", 0.1, [true, true, false, true]).to_string())?;
//! # std::fs::write(folder.join("cells/random0.2.json"), cell("random", 0.2, [true, false, false, true]).to_string())?;
//! // `folder` is a results folder: `dense`, and `random` at two reductions.
//! let study = analysis::study(&folder)?;
//! let drawn = report::draw(&study)?;
//! assert!(drawn.failed.is_empty());
//! let figure = &drawn.figures[0];
//! assert_eq!(figure.name, "accuracy_vs_flops_m_context");
//! assert!(figure.svg.starts_with("<svg") && figure.csv.contains("random"));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod axes;
mod canvas;
mod checklist;
mod claim;
mod comparison;
mod convert;
mod error;
mod figures;
mod guards;
mod items;
mod losses;
mod made;
mod markdown;
mod overview;
mod page;
mod paper;
mod ranking;
mod references;
mod select;
mod splice;
mod spread;
mod style;
mod tables;
pub mod text;
mod values;
mod view;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use analysis::Study;
use rayon::prelude::*;
use records::files::{self, Durability};

pub use comparison::comparison;
use convert::Rendered;
pub use error::ReportError;
pub use figures::{Drawn, FailedFigure, Figure};
pub use items::{Marks, items};
pub use overview::{Overview, overview};
pub use paper::Paper;
pub use ranking::ranking;
pub use select::Select;
pub use splice::{check_block, check_document, splice};

/// What [`run`] read and wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportSummary {
    /// Name of the experiment.
    pub experiment: String,
    /// The page of text.
    pub report: PathBuf,
    /// The page to be read in a browser.
    pub html: PathBuf,
    /// The verdict on the experiment's claim, to be put into documents; none where it makes none.
    pub verdict: Option<PathBuf>,
    /// Files below `figures/`.
    pub figures: Vec<PathBuf>,
    /// Figures that could not be drawn, each with the reason; the others were.
    pub failed_figures: Vec<(String, String)>,
    /// Files of an earlier report that this one does not make, and removed.
    pub removed: Vec<PathBuf>,
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

/// Strategies that reports know by name: those with a look of their own, and those that implement a method of the paper. Any other
/// strategy is drawn in the panel of its family and takes a look in turn.
pub fn named_strategies() -> impl Iterator<Item = &'static str> {
    style::named().chain(tables::named())
}

/// Who uses the entries of `references.bib`: `strategy:utrc`, `task:hellaswag`, ..
pub fn reference_tags() -> impl Iterator<Item = &'static str> {
    references::tags()
}

/// Draws every figure that a study has data for.
///
/// # Errors
///
/// [`ReportError::NoFamily`]: the plan is from before strategies had families.
pub fn draw(study: &Study) -> Result<Drawn, ReportError> {
    canvas::register_fonts();
    Ok(figures::draw_all(study, &view::view(study, paper::Sheet::of(None))?, &analysis::bridges(study)))
}

/// How a report is made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// What figures and LaTeX tables are printed in; without one, a text column of 5.5 inches.
    pub paper: Option<Paper>,
    /// What LaTeX tables show.
    pub select: Select,
}

/// Analyses a results folder and writes `figures/`, `tables/` and `report.md` into it, as [`run_as`] does without wishes.
///
/// # Errors
///
/// Those of [`run_as`].
pub fn run(dir: &Path) -> Result<ReportSummary, ReportError> {
    run_as(dir, &Wishes::default())
}

/// Analyses a results folder and writes `figures/`, `tables/` and `report.md` into it.
///
/// # Errors
///
/// If the folder cannot be analysed, or a file cannot be written. A figure that cannot be drawn is none: the summary names it.
pub fn run_as(dir: &Path, wishes: &Wishes) -> Result<ReportSummary, ReportError> {
    canvas::register_fonts();
    let (study, analysis) = analysis::study_and_write(dir)?;
    let view = view::view(&study, paper::Sheet::of(wishes.paper))?;
    let earlier = made::read(dir);
    let mut folder = Folder { dir, made: made::Made::new() };
    let bridges = analysis::bridges(&study);
    let figures::Drawn { mut figures, mut failed } = figures::draw_all(&study, &view, &bridges);
    distinct(figures.iter_mut().map(|figure| &mut figure.name));
    let figure_files = folder.write_figures(&mut figures, &mut failed)?;
    let mut tables = tables::all(&study, &view, &bridges);
    distinct(tables.iter_mut().map(|table| &mut table.name));
    let unknown = wishes.select.unknown(&tables);
    if !unknown.is_empty() {
        return Err(ReportError::NoRule { unknown, known: tables::rules(&tables) });
    }
    let unknown = wishes.select.unknown_reductions(&tables);
    if !unknown.is_empty() {
        return Err(ReportError::NoReduction { unknown, known: tables::reductions(&tables) });
    }
    let page = markdown::page(&study, &analysis, &view, (&figures, &failed), &tables);
    let table_files = folder.write_tables(&tables, wishes)?;
    let captions = tables.iter().map(|table| (&table.name, table.latex_caption()));
    let captions = captions.chain(figures.iter().map(|figure| (&figure.name, figure.caption.clone())));
    let captions: Vec<(&String, String)> = captions.collect();
    let captions = tables::captions(captions.iter().map(|(name, caption)| (name.as_str(), caption.as_str())));
    folder.write("tables/captions.tex", captions.as_bytes())?;
    let verdict =
        study.claim.as_ref().map(|result| folder.write("verdict.md", claim::text(result).as_bytes())).transpose()?;
    if let Some(result) = &study.claim {
        let summary = claim::summary(&study.plan.experiment, study.plan.question.as_deref(), result);
        folder.write(claim::SUMMARY, summary.as_bytes())?;
    }
    let report = folder.write("report.md", page.as_bytes())?;
    folder.write("references.bib", references::bibtex(&study).as_bytes())?;
    folder.write("checklist.md", checklist::page(dir, &study, &analysis).as_bytes())?;
    let html = page::page(dir, &study, &analysis, &view, (&figures, &failed), &tables)?;
    let html = folder.write("report.html", html.as_bytes())?;
    folder.list_frames(&analysis.files)?;
    let removed = made::remove_stale(dir, &earlier, &folder.made)
        .map_err(|(path, source)| ReportError::Remove { path, source })?;
    folder.write_list()?;
    Ok(ReportSummary {
        experiment: study.plan.experiment.clone(),
        figures: figure_files,
        failed_figures: failed.into_iter().map(|figure| (figure.name, figure.reason)).collect(),
        removed,
        tables: table_files,
        report,
        html,
        verdict,
        frames: analysis.files,
        done: analysis.done,
        failed: analysis.failed,
        unfinished: analysis.unfinished,
    })
}

/// Two models of one short name must not write to one file: the second is numbered.
fn distinct<'a>(names: impl Iterator<Item = &'a mut String>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for name in names {
        let own = name.clone();
        let mut count = 1;
        while !seen.insert(name.clone()) {
            count += 1;
            *name = format!("{own}-{count}");
        }
    }
}

/// The results folder, with what was written into it.
struct Folder<'a> {
    dir: &'a Path,
    made: made::Made,
}

impl Folder<'_> {
    fn write_tables(&mut self, tables: &[tables::Table], wishes: &Wishes) -> Result<Vec<PathBuf>, ReportError> {
        let mut files = Vec::new();
        for table in tables {
            files.push(self.write(&format!("tables/{}.md", table.name), table.markdown().as_bytes())?);
            files.push(self.write(&format!("tables/{}.csv", table.name), table.csv().as_bytes())?);
            for wide in paper::Wide::of(wishes.paper) {
                if let Some(latex) = table.latex(wide, &wishes.select) {
                    files.push(self.write(&format!("tables/{}{}.tex", table.name, wide.suffix), latex.as_bytes())?);
                }
            }
        }
        Ok(files)
    }

    /// Converts and writes the figures; one that cannot be converted moves to those that failed.
    fn write_figures(
        &mut self,
        figures: &mut Vec<figures::Figure>,
        failed: &mut Vec<figures::FailedFigure>,
    ) -> Result<Vec<PathBuf>, ReportError> {
        let rendered: Vec<Result<Rendered, String>> =
            figures.par_iter().map(|figure| convert::convert(figure.svg.clone())).collect();
        let mut files = Vec::new();
        let mut kept = Vec::with_capacity(figures.len());
        for (figure, rendered) in figures.drain(..).zip(rendered) {
            match rendered {
                Ok(Rendered { svg, pdf, png }) => {
                    let parts: [(&str, &[u8]); 5] = [
                        ("svg", svg.as_bytes()),
                        ("pdf", &pdf),
                        ("png", &png),
                        ("csv", figure.csv.as_bytes()),
                        ("json", figure.query.as_bytes()),
                    ];
                    for (kind, bytes) in parts {
                        files.push(self.write(&format!("figures/{}.{kind}", figure.name), bytes)?);
                    }
                    kept.push(figure);
                }
                Err(reason) => failed.push(figures::FailedFigure { name: figure.name, reason }),
            }
        }
        *figures = kept;
        Ok(files)
    }

    /// Takes note of the frames that a later report may not make.
    fn list_frames(&mut self, frames: &[PathBuf]) -> Result<(), ReportError> {
        for path in frames {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if made::may_go_stale(&name) {
                let bytes = fs::read(path).map_err(|source| ReportError::Read { path: path.clone(), source })?;
                self.made.insert(name, made::digest(&bytes));
            }
        }
        Ok(())
    }

    fn write_list(&mut self) -> Result<(), ReportError> {
        let list =
            serde_json::to_string_pretty(&self.made).unwrap_or_else(|_| unreachable!("a map of strings is JSON"));
        self.write(made::LIST, list.as_bytes()).map(|_| ())
    }

    /// Written aside and renamed, so that a reader never sees half a file.
    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<PathBuf, ReportError> {
        let path = self.dir.join(name);
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| files::write(&path, bytes, Durability::Plain))
            .map_err(|source| ReportError::Write { path: path.clone(), source })?;
        self.made.insert(name.to_owned(), made::digest(bytes));
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_files_have_one_name() {
        let mut names = ["a", "a", "a-2", "b", "a"].map(str::to_owned);
        distinct(names.iter_mut());
        assert_eq!(names, ["a", "a-2", "a-2-2", "b", "a-3"]);
    }
    #[test]
    fn a_figure_that_fails_is_named_and_the_others_are_written() {
        canvas::register_fonts();
        let dir = tempfile::tempdir().unwrap();
        let figure = |name: &str, svg: String| figures::Figure {
            name: name.to_owned(),
            svg,
            csv: "a\n".to_owned(),
            query: "{}\n".to_owned(),
            caption: String::new(),
        };
        let good = canvas::draw(paper::Sheet::of(None), 50.0, |_| Ok(())).unwrap();
        let mut figures = vec![figure("broken", "<svg".to_owned()), figure("good", good)];
        let mut failed = Vec::new();
        let mut folder = Folder { dir: dir.path(), made: made::Made::new() };
        let files = folder.write_figures(&mut figures, &mut failed).unwrap();
        assert_eq!((files.len(), figures.len(), failed.len()), (5, 1, 1));
        assert_eq!((figures[0].name.as_str(), failed[0].name.as_str()), ("good", "broken"));
        assert!(dir.path().join("figures/good.pdf").exists() && !dir.path().join("figures/broken.svg").exists());
        assert_eq!(folder.made.len(), 5);
    }
}
