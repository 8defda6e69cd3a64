//! Recorded cells with their statistics: the one source of every number in frames, figures and tables.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use records::Split;
use records::guards::GuardRow;
use records::plan::PlanIndex;
use records::schema::{CellRecord, ItemRecord, MetricRecord, Status};
use records::task_items::TaskItems;

use super::basis::Basis;
use super::claim::{self, ClaimResult};
use super::error::AnalyseError;
use super::input;
use super::partners::Places;
use super::probes::Probes;
use super::statistics::{Contributions, Difference, Estimate, ResampleBank, Rule, estimate, paired_difference};

/// One experiment, analysed.
pub struct Study {
    /// What was planned.
    pub plan: PlanIndex,
    /// What its cells cost: their own time where all were timed, or FLOPs.
    pub basis: Basis,
    /// Recorded cells in the order of the plan.
    pub cells: Vec<Cell>,
    /// Outcome of the guards.
    pub guards: Vec<GuardRow>,
    /// What the probes saw.
    pub probes: Probes,
    /// What the items say, by model and task in the order of the plan; none of runs from before their text was recorded.
    pub task_items: Vec<TaskItems>,
    /// Planned cells that are not on disk.
    pub unfinished: usize,
    /// What became of the experiment's claim; none where it makes none.
    pub claim: Option<ClaimResult>,
}

/// One recorded cell and what its metrics say.
pub struct Cell {
    /// What was recorded.
    pub record: CellRecord,
    /// In the order of the record's metrics; empty for a failed cell.
    pub metrics: Vec<MetricEstimate>,
    /// Values of the primary metric over the task's resamples.
    pub replicates: Arc<Vec<f32>>,
    /// Hash of the items in the order the replicates were drawn over; equal hashes make replicates paired.
    pub items_key: u64,
}

/// A metric of one cell: its value, and how it differs from the baseline's.
pub struct MetricEstimate {
    /// Name of the metric.
    pub metric: String,
    /// Its value.
    pub estimate: Estimate,
    /// The baseline's value; none where the baseline has no result.
    pub baseline_value: Option<f64>,
    /// None for the baseline itself and where the baseline has no result.
    pub difference: Option<Difference>,
}

impl Study {
    /// What the items of a task say, in the tokens of a model; none where it is not recorded.
    pub fn items_of(&self, model: &str, task: &str) -> Option<&TaskItems> {
        self.task_items.iter().find(|items| items.model == model && items.task == task)
    }
}

impl Cell {
    /// Whether the cell finished.
    pub fn is_done(&self) -> bool {
        self.record.status == Status::Done
    }
}

/// Reads a results folder and computes its statistics.
///
/// # Errors
/// The folder holds no plan or no cell, or a record is damaged.
pub fn study(dir: &Path) -> Result<Study, AnalyseError> {
    let input::Recorded { plan, cells, guards, unfinished } = input::read(dir)?;
    let mut by_task: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, cell) in cells.iter().enumerate() {
        by_task.entry(cell.task.clone()).or_default().push(index);
    }
    let mut results: Vec<Option<CellResult>> = cells.iter().map(|_| None).collect();
    // Task by task, so that the resamples of one task alone are in memory.
    for (task, members) in by_task {
        let bank = ResampleBank::new(plan.seed, &task);
        for group in comparable(&cells, &members) {
            for (index, result) in analyse_group(&cells, &group, &plan.baseline, &bank) {
                results[index] = Some(result);
            }
        }
    }
    let cells: Vec<Cell> = cells
        .into_iter()
        .zip(results)
        .map(|(record, result)| {
            let CellResult { metrics, replicates, items_key } = result.unwrap_or_default();
            Cell { record, metrics, replicates: Arc::new(replicates), items_key }
        })
        .collect();
    let probes = Probes::read(dir, plan.seed)?;
    let task_items = input::task_items(dir, &plan)?;
    let basis = Basis::of(cells.iter().filter(|cell| cell.is_done()).map(|cell| &cell.record));
    let mut study = Study { plan, basis, cells, guards, probes, task_items, unfinished, claim: None };
    study.claim = study.plan.claim.clone().map(|claim| claim::decide(&study, claim));
    Ok(study)
}

#[derive(Default)]
struct CellResult {
    metrics: Vec<MetricEstimate>,
    replicates: Vec<f32>,
    items_key: u64,
}

/// Splits the cells of one task into groups that share a baseline: same model, protocol, split and limit.
fn comparable(cells: &[CellRecord], members: &[usize]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<(&str, &str, Split, Option<usize>), Vec<usize>> = BTreeMap::new();
    for &index in members {
        let trial = &cells[index].trial;
        groups.entry((&trial.model, &trial.protocol, trial.split, trial.limit)).or_default().push(index);
    }
    groups.into_values().collect()
}

/// The baseline of a group with what all comparisons reuse.
struct Baseline<'a> {
    index: usize,
    items: &'a [ItemRecord],
    places: Places<'a>,
    metrics: BTreeMap<&'a str, (&'a MetricRecord, Contributions, Vec<f64>)>,
}

fn analyse_group(
    cells: &[CellRecord],
    group: &[usize],
    baseline: &str,
    bank: &ResampleBank,
) -> Vec<(usize, CellResult)> {
    let done = |&&index: &&usize| cells[index].status == Status::Done;
    let baseline = group
        .iter()
        .filter(done)
        .find(|&&index| cells[index].trial.strategy == baseline)
        .map(|&index| Baseline::new(index, &cells[index], bank));
    group
        .par_iter()
        .filter(done)
        .map(|&index| (index, analyse_cell(&cells[index], index, baseline.as_ref(), bank)))
        .collect()
}

impl<'a> Baseline<'a> {
    fn new(index: usize, cell: &'a CellRecord, bank: &ResampleBank) -> Self {
        let n = cell.items.len();
        let resamples = bank.of(n);
        let metrics = cell.metrics.iter().map(|metric| {
            let contributions = Contributions::of_items(metric, 0..n);
            let replicates = contributions.replicates(&resamples);
            (metric.metric.as_str(), (metric, contributions, replicates))
        });
        let places = Places::of(cell.items.iter().map(|item| item.item_id.as_str()));
        Self { index, items: &cell.items, places, metrics: metrics.collect() }
    }
}

/// How the items of a cell line up with those of its baseline.
struct Alignment {
    /// The cell's items, in the baseline's order where both have the same ones.
    own: Vec<usize>,
    /// `(item of the cell, item of the baseline)`, in the baseline's order.
    pairs: Vec<(usize, usize)>,
    complete: bool,
}

fn align(cell: &CellRecord, baseline: Option<&Baseline>) -> Alignment {
    let in_order: Vec<usize> = (0..cell.items.len()).collect();
    let Some(baseline) = baseline else {
        return Alignment { own: in_order, pairs: Vec::new(), complete: false };
    };
    let same = cell.items.iter().map(|item| &item.item_id).eq(baseline.items.iter().map(|item| &item.item_id));
    let pairs = if same && baseline.places.repeated().is_none() {
        // As nearly always, and quicker than looking each one up.
        in_order.iter().map(|&index| (index, index)).collect()
    } else {
        let mut pairs = Places::of(cell.items.iter().map(|item| item.item_id.as_str())).pairs(&baseline.places);
        pairs.sort_by_key(|&(_, base)| base);
        pairs
    };
    let complete = pairs.len() == cell.items.len() && pairs.len() == baseline.items.len();
    let own = if complete { pairs.iter().map(|&(own, _)| own).collect() } else { in_order };
    Alignment { own, pairs, complete }
}

fn analyse_cell(cell: &CellRecord, index: usize, baseline: Option<&Baseline>, bank: &ResampleBank) -> CellResult {
    let alignment = align(cell, baseline);
    let resamples = bank.of(cell.items.len());
    let mut result = CellResult { items_key: items_key(cell, &alignment.own), ..CellResult::default() };
    for metric in &cell.metrics {
        let contributions = Contributions::of_items(metric, alignment.own.iter().copied());
        let primary = metric.metric == cell.primary_metric;
        let (estimate, replicates) = estimate(&contributions, &resamples, Rule::of([&contributions]), primary);
        if primary {
            result.replicates = replicates.iter().map(|&x| x as f32).collect();
        }
        let counterpart = baseline
            .and_then(|baseline| Some((baseline, baseline.metrics.get(metric.metric.as_str())?)))
            .filter(|(_, (other, _, _))| other.aggregate == metric.aggregate);
        let difference = counterpart.filter(|(baseline, _)| baseline.index != index).and_then(
            |(_, (other, other_contributions, other_replicates))| {
                if alignment.complete {
                    // Shares of items are compared without replicates, so missing ones are not asked for.
                    let known =
                        (!replicates.is_empty()).then_some((replicates.as_slice(), other_replicates.as_slice()));
                    return Some(paired_difference(&contributions, other_contributions, known, &resamples));
                }
                // Different items on both sides: only the common ones can be compared.
                if alignment.pairs.is_empty() {
                    return None;
                }
                let own = Contributions::of_items(metric, alignment.pairs.iter().map(|pair| pair.0));
                let base = Contributions::of_items(other, alignment.pairs.iter().map(|pair| pair.1));
                Some(paired_difference(&own, &base, None, &bank.of(alignment.pairs.len())))
            },
        );
        result.metrics.push(MetricEstimate {
            metric: metric.metric.clone(),
            estimate,
            baseline_value: counterpart.map(|(_, (_, contributions, _))| contributions.value()),
            difference,
        });
    }
    result
}

fn items_key(cell: &CellRecord, order: &[usize]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for &item in order {
        hasher.update(cell.items[item].item_id.as_bytes());
        hasher.update(&[0]);
    }
    let mut key = [0; 8];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(key)
}
