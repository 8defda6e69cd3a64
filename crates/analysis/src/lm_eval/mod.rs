//! Recorded cells in the files of lm-evaluation-harness, so that tools made for those read them; what is in them and what is not:
//! `docs/lm-eval.md`.
//!
//! ```text
//! DIR/<model>__<strategy>__<trial_id>/results_1970-01-01T00-00-00.000000.json
//!                                     samples_<task>_1970-01-01T00-00-00.000000.jsonl
//! ```

mod bootstrap;
mod error;
mod measured;
mod results;
mod samples;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use error::LmEvalError;
use records::files::{self, Durability};
use records::schema::{CellRecord, Status, TrialKey};

use crate::input::read;
use measured::Measured;

/// The harness puts the date of a run into its file names, and its tools look for one. Here equal records give equal files, so it is
/// always this one; `manifests/` of the results folder says when a run happened.
const DATE: &str = "1970-01-01T00-00-00.000000";

/// What [`write()`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Export {
    /// One file of results per trial, in the order of the plan.
    pub results: Vec<PathBuf>,
    /// One file of samples per trial and task.
    pub samples: Vec<PathBuf>,
    /// Planned cells that failed or are not finished, which no file holds.
    pub left_out: usize,
}

/// A trial with its finished cells and what they say, in the order of the plan.
struct Trial<'a> {
    key: &'a TrialKey,
    cells: Vec<(&'a CellRecord, Vec<Measured>)>,
}

/// Writes the recorded cells of the results folder `dir` below `out`, one folder per trial. Files of an earlier export are replaced.
///
/// # Errors
/// The folder holds no plan or no cell, a record is damaged, or a file cannot be written.
pub fn write(dir: &Path, out: &Path) -> Result<Export, LmEvalError> {
    let input = read(dir)?;
    let mut trials: Vec<Trial<'_>> = Vec::new();
    for cell in input.cells.iter().filter(|cell| cell.status == Status::Done) {
        let own = (cell, measured::measured(cell));
        match trials.iter_mut().find(|trial| trial.key.trial_id == cell.trial.trial_id) {
            Some(trial) => trial.cells.push(own),
            None => trials.push(Trial { key: &cell.trial, cells: vec![own] }),
        }
    }
    bootstrap_all(&mut trials);
    let done: usize = trials.iter().map(|trial| trial.cells.len()).sum();
    let left_out = input.cells.len() + input.unfinished - done;
    let mut export = Export { results: Vec::new(), samples: Vec::new(), left_out };
    for trial in &trials {
        let name = folder_name(trial.key);
        let folder = out.join(&name);
        let mut text = results::results(trial.key, &name, input.plan.fewshot, &trial.cells).to_string();
        text.push('\n');
        export.results.push(write_file(&folder, &format!("results_{DATE}.json"), &text)?);
        for (cell, metrics) in &trial.cells {
            let data = input.plan.digests.get(&format!("data of {}", cell.task)).map_or("", String::as_str);
            let text = samples::samples(cell, metrics, data);
            export.samples.push(write_file(&folder, &format!("samples_{}_{DATE}.jsonl", cell.task), &text)?);
        }
    }
    Ok(export)
}

/// Fills in the standard errors that the harness bootstraps. Its draws depend on the number of items alone, so metrics of equally
/// many items share them.
fn bootstrap_all(trials: &mut [Trial<'_>]) {
    let mut by_size: BTreeMap<usize, Vec<&mut Measured>> = BTreeMap::new();
    let metrics = trials.iter_mut().flat_map(|trial| &mut trial.cells).flat_map(|(_, metrics)| metrics);
    for metric in metrics.filter(|metric| metric.is_bootstrapped()) {
        by_size.entry(metric.items()).or_default().push(metric);
    }
    for (items, mut metrics) in by_size {
        let columns: Vec<&[f64]> = metrics.iter().map(|metric| metric.values()).collect();
        let stderrs = bootstrap::perplexity_stderrs(items, &columns);
        metrics.iter_mut().zip(stderrs).for_each(|(metric, stderr)| metric.stderr = Some(stderr));
    }
}

/// Most bytes of a model's name in the name of a folder, which has 255 and holds strategy and trial as well.
const LONGEST_MODEL: usize = 120;

/// The harness has one folder per model; here a model under a strategy is one. The trial's id tells shortened names apart.
fn folder_name(key: &TrialKey) -> String {
    let mut model = sanitize(&key.model);
    if model.len() > LONGEST_MODEL {
        let ends = (0..=LONGEST_MODEL).rev().find(|&end| model.is_char_boundary(end)).unwrap_or(0);
        model.truncate(ends);
    }
    format!("{model}__{}", sanitize(&format!("{}__{}", key.strategy, key.trial_id)))
}

/// As the harness makes a model's name a folder's: every run of characters that file systems refuse becomes two underscores. So does one
/// that a terminal would take for an order, which the harness lets through.
fn sanitize(name: &str) -> String {
    let mut sanitized = String::with_capacity(name.len());
    let mut refused = false;
    for character in name.chars() {
        let refuses = "\"<>:/|\\?*[]".contains(character) || character.is_control();
        if !refuses {
            sanitized.push(character);
        } else if !refused {
            sanitized.push_str("__");
        }
        refused = refuses;
    }
    sanitized
}

fn write_file(folder: &Path, name: &str, text: &str) -> Result<PathBuf, LmEvalError> {
    let path = folder.join(name);
    fs::create_dir_all(folder)
        .and_then(|()| files::write(&path, text.as_bytes(), Durability::Plain))
        .map_err(|source| LmEvalError::Write { path: path.clone(), source })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_become_names_of_folders() {
        assert_eq!(sanitize("builtin:mamba2-world"), "builtin__mamba2-world");
        assert_eq!(sanitize("hub://a/b[1]*"), "hub__a__b__1__");
        assert_eq!(sanitize("a\u{1b}[2J\nb"), "a__2J__b");
    }
}
