//! Reads what a run recorded: the plan and the finished cells, in the order of the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use rayon::prelude::*;
use records::check;
use records::guards::GuardRow;
use records::plan::PlanIndex;
use records::probes::index_path;
use records::regular;
use records::schema::{CellRecord, SCHEMA_VERSION};
use records::task_items::{self, TaskItems};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::error::AnalyseError;

/// Everything read from one results folder.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub plan: PlanIndex,
    pub cells: Vec<CellRecord>,
    /// Outcome of the guards; empty where none were recorded.
    pub guards: Vec<GuardRow>,
    /// Planned cells without a file.
    pub unfinished: usize,
}

/// Reads the plan and every planned cell that is on disk; files that the plan does not list are ignored.
pub(crate) fn read(dir: &Path) -> Result<Recorded, AnalyseError> {
    let plan: PlanIndex =
        read_json(&dir.join("plan.json"))?.ok_or_else(|| AnalyseError::MissingPlan { dir: dir.to_owned() })?;
    let folder = dir.join("cells");
    // The first fault is reported, not the first that a thread met; here and wherever many items are read.
    let cells: Vec<_> = plan.cells.par_iter().map(|id| read_cell(&folder.join(format!("{id}.json")))).collect();
    let cells = cells.into_iter().collect::<Result<Vec<_>, _>>()?;
    check_cohorts(&plan, &cells, &folder)?;
    let mut cells: Vec<CellRecord> = cells.into_iter().flatten().collect();
    for cell in &mut cells {
        // Also where the cell has no value of it: another metric must not be shown in its place.
        if let Some(primary) = plan.primary.get(&cell.task) {
            cell.primary_metric.clone_from(primary);
        }
    }
    warn_of_mixed_code(&cells);
    // An experiment may have probes alone.
    if cells.is_empty() && !(plan.cells.is_empty() && index_path(dir).exists()) {
        return Err(AnalyseError::NothingRecorded { dir: dir.to_owned(), planned: plan.cells.len() });
    }
    let unfinished = plan.cells.len() - cells.len();
    let path = dir.join("guards.json");
    let guards: Vec<GuardRow> = read_json(&path)?.unwrap_or_default();
    let sound = guards.iter().try_for_each(check::guard);
    sound.map_err(|reason| AnalyseError::Inconsistent { path, reason })?;
    Ok(Recorded { plan, cells, guards, unfinished })
}

/// What the items of the plan say, of each model and task once; nothing of runs from before it was recorded.
pub(crate) fn task_items(dir: &Path, plan: &PlanIndex) -> Result<Vec<TaskItems>, AnalyseError> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for cohort in &plan.cohorts {
        if seen.contains(&(&cohort.model, &cohort.task)) {
            continue;
        }
        let path = task_items::path(dir, &cohort.cohort_id);
        let Some(items) = read_json::<TaskItems>(&path)? else { continue };
        let sound = items.check(&cohort.model, &cohort.task);
        sound.map_err(|reason| AnalyseError::Inconsistent { path, reason })?;
        seen.insert((&cohort.model, &cohort.task));
        all.push(items);
    }
    Ok(all)
}

fn read_cell(path: &Path) -> Result<Option<CellRecord>, AnalyseError> {
    let Some(cell) = read_json::<CellRecord>(path)? else {
        return Ok(None);
    };
    if cell.schema_version != SCHEMA_VERSION {
        return Err(AnalyseError::SchemaVersion {
            path: path.to_owned(),
            found: cell.schema_version,
            expected: SCHEMA_VERSION,
        });
    }
    let id = path.file_stem().unwrap_or_default().to_string_lossy();
    check::cell(&cell, &id).map_err(|reason| AnalyseError::Inconsistent { path: path.to_owned(), reason })?;
    Ok(Some(cell))
}

/// Refuses a record whose task or protocol is not that of its cohort in the plan.
fn check_cohorts(plan: &PlanIndex, cells: &[Option<CellRecord>], folder: &Path) -> Result<(), AnalyseError> {
    for cohort in &plan.cohorts {
        for (id, cell) in cohort.cells.iter().filter_map(|cell| Some((plan.cells.get(*cell)?, cells.get(*cell)?))) {
            let Some(cell) = cell else { continue };
            let inconsistent = |reason| AnalyseError::Inconsistent { path: folder.join(format!("{id}.json")), reason };
            check::of_cohort(cell, cohort).map_err(inconsistent)?;
        }
    }
    Ok(())
}

/// Says where records of one folder were made by different code: their differences may be its own.
fn warn_of_mixed_code(cells: &[CellRecord]) {
    let mut shared: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut rules: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for CellRecord { code, trial, .. } in cells {
        shared.entry(&trial.device).or_default().insert(&code.shared);
        rules.entry((&trial.device, &trial.strategy)).or_default().insert(&code.rule);
    }
    if let Some(versions) = shared.values().map(BTreeSet::len).max().filter(|versions| *versions > 1) {
        warn!(
            "the cells were made by {versions} versions of the code that all rules share; `sweep run` makes them by one"
        );
    }
    for ((_, strategy), versions) in rules.iter().filter(|(_, versions)| versions.len() > 1) {
        let versions = versions.len();
        warn!("the cells of `{strategy}` were made by {versions} versions of its code; `sweep run` makes them by one");
    }
}

/// None where the file does not exist.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, AnalyseError> {
    let bytes = match regular::read(path, regular::MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(AnalyseError::Read { path: path.to_owned(), source });
        }
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| AnalyseError::Parse { path: path.to_owned(), source })
}
