//! Reads what a run left behind: the plan and the finished cells, in the order of the plan.

use std::io::ErrorKind;
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::AnalyseError;
use crate::plan::PlannedClaim;
use crate::record::guards::GuardRow;
use crate::record::identity::Digests;
use crate::record::probes::ProbeStore;
use crate::record::regular;
use crate::record::schema::{CellRecord, SCHEMA_VERSION, Status};

/// The part of `plan.json` that the analysis needs.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PlanFile {
    pub(crate) experiment: String,
    #[serde(default)]
    pub(crate) question: Option<String>,
    /// A claim to decide.
    #[serde(default)]
    pub(crate) claim: Option<PlannedClaim>,
    /// Strategy that every other one is compared to.
    #[serde(default = "dense")]
    pub(crate) baseline: String,
    #[serde(default)]
    pub(crate) seed: u64,
    /// Solved examples in front of each question of a benchmark; plans from before there were any have none.
    #[serde(default)]
    pub(crate) fewshot: usize,
    /// What the results were made from.
    #[serde(default)]
    pub(crate) digests: Digests,
    /// Cell ids in the order of the grid; the order of all rows.
    pub(crate) cells: Vec<String>,
}

fn dense() -> String {
    "dense".to_owned()
}

/// Everything read from one results folder.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) plan: PlanFile,
    pub(crate) cells: Vec<CellRecord>,
    /// Outcome of the guards; empty where none were recorded.
    pub(crate) guards: Vec<GuardRow>,
    /// Planned cells without a file.
    pub(crate) unfinished: usize,
}

/// Reads the plan and every planned cell that is on disk; files that the plan does not list are ignored.
pub(crate) fn read(dir: &Path) -> Result<Recorded, AnalyseError> {
    let plan: PlanFile =
        read_json(&dir.join("plan.json"))?.ok_or_else(|| AnalyseError::MissingPlan { dir: dir.to_owned() })?;
    let folder = dir.join("cells");
    let cells =
        plan.cells.par_iter().map(|id| read_cell(&folder.join(format!("{id}.json")))).collect::<Result<Vec<_>, _>>()?;
    let cells: Vec<CellRecord> = cells.into_iter().flatten().collect();
    // An experiment may have probes alone.
    if cells.is_empty() && !(plan.cells.is_empty() && ProbeStore::at(dir).index_path().exists()) {
        return Err(AnalyseError::NothingRecorded { dir: dir.to_owned(), planned: plan.cells.len() });
    }
    let unfinished = plan.cells.len() - cells.len();
    let guards = read_json(&dir.join("guards.json"))?.unwrap_or_default();
    Ok(Recorded { plan, cells, guards, unfinished })
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
    check(&cell)?;
    Ok(Some(cell))
}

/// Later stages index by item; a record that does not fit together is refused here, once.
fn check(cell: &CellRecord) -> Result<(), AnalyseError> {
    let refuse = |reason: String| Err(AnalyseError::Inconsistent { cell_id: cell.cell_id.clone(), reason });
    if cell.status == Status::Failed {
        return Ok(());
    }
    let n = cell.items.len();
    for metric in &cell.metrics {
        if metric.contributions.len() != n {
            return refuse(format!(
                "metric `{}` has {} contributions for {n} items",
                metric.metric,
                metric.contributions.len()
            ));
        }
    }
    if cell.metrics.iter().all(|metric| metric.metric != cell.primary_metric) {
        return refuse(format!("its primary metric `{}` is not among its metrics", cell.primary_metric));
    }
    let planned = cell.plans.iter().map(|plan| plan.item).chain(cell.plan_items.iter().map(|plan| plan.item));
    if let Some(item) = planned.max().filter(|&item| item >= n) {
        return refuse(format!("a plan names item {item} of {n}"));
    }
    Ok(())
}

/// None where the file does not exist.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, AnalyseError> {
    let text = match regular::read_text(path, regular::MAX_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(AnalyseError::Read { path: path.to_owned(), source });
        }
    };
    serde_json::from_str(&text).map(Some).map_err(|source| AnalyseError::Parse { path: path.to_owned(), source })
}
