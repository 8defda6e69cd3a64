//! `trials`: one row per trial, task and metric.

use std::collections::BTreeMap;

use polars::prelude::*;
use records::schema::{CellRecord, Status};

use super::known;
use crate::labels::Labels;
use crate::study::{Cell, MetricEstimate, Study};

/// One row: a cell with one of its metrics, or a failed cell alone.
type Row<'a> = (&'a Cell, Option<&'a MetricEstimate>);

pub(super) fn frame(study: &Study) -> PolarsResult<DataFrame> {
    let mut rows: Vec<Row> = Vec::new();
    for cell in &study.cells {
        if cell.metrics.is_empty() {
            rows.push((cell, None));
        } else {
            rows.extend(cell.metrics.iter().map(|metric| (cell, Some(metric))));
        }
    }
    let mut columns = description(&rows, &Labels::of(study).by_trial(study));
    columns.extend(results(&rows));
    columns.extend(circumstances(&rows));
    DataFrame::new(rows.len(), columns)
}

fn text(rows: &[Row], name: &str, value: impl Fn(&CellRecord) -> Option<String>) -> Column {
    let values: Vec<Option<String>> = rows.iter().map(|(cell, _)| value(&cell.record)).collect();
    Column::new(name.into(), values)
}

fn count(rows: &[Row], name: &str, value: impl Fn(&Row) -> Option<u64>) -> Column {
    Column::new(name.into(), rows.iter().map(value).collect::<Vec<Option<u64>>>())
}

fn number(rows: &[Row], name: &str, value: impl Fn(&Row) -> Option<f64>) -> Column {
    let values: Vec<Option<f64>> = rows.iter().map(|row| value(row).and_then(known)).collect();
    Column::new(name.into(), values)
}

/// A number of the metric, null for a failed cell.
fn metric(rows: &[Row], name: &str, value: impl Fn(&MetricEstimate) -> Option<f64>) -> Column {
    number(rows, name, |(_, metric)| metric.and_then(&value))
}

/// A number that was measured, null for a failed cell (whose record holds zeros).
fn measured(rows: &[Row], name: &str, value: impl Fn(&CellRecord) -> f64) -> Column {
    number(rows, name, |(cell, _)| cell.is_done().then(|| value(&cell.record)))
}

fn description(rows: &[Row], labels: &BTreeMap<&str, String>) -> Vec<Column> {
    let mut columns = vec![
        text(rows, "trial_id", |cell| Some(cell.trial.trial_id.clone())),
        text(rows, "cell_id", |cell| Some(cell.cell_id.clone())),
        text(rows, "experiment", |cell| Some(cell.trial.experiment.clone())),
        text(rows, "model", |cell| Some(cell.trial.model.clone())),
        text(rows, "strategy", |cell| Some(cell.trial.strategy.clone())),
        text(rows, "strategy_params", |cell| Some(cell.trial.strategy_params.clone())),
        text(rows, "label", |cell| labels.get(cell.trial.trial_id.as_str()).cloned()),
        text(rows, "importance", |cell| cell.trial.importance.clone()),
        text(rows, "importance_source", |cell| cell.trial.importance_source.clone()),
        text(rows, "schedule", |cell| Some(cell.trial.schedule.clone())),
        text(rows, "sites", |cell| Some(sites(&cell.trial.sites))),
        number(rows, "keep_ratio", |(cell, _)| cell.record.trial.keep_ratio),
        number(rows, "flops_reduction_nominal", |(cell, _)| cell.record.trial.flops_reduction_nominal),
    ];
    // Only where some trial has one: the frames of other experiments have the columns that they always had.
    if rows.iter().any(|(cell, _)| cell.record.trial.flops_reduction_asked.is_some()) {
        columns.push(number(rows, "flops_reduction_asked", |(cell, _)| cell.record.trial.flops_reduction_asked));
    }
    if rows.iter().any(|(cell, _)| cell.record.trial.calibration.is_some()) {
        let of = |cell: &CellRecord| cell.trial.calibration.clone();
        columns.extend([
            text(rows, "calibrated_option", |cell| of(cell).map(|found| found.option)),
            number(rows, "calibrated_value", |(cell, _)| of(&cell.record).map(|found| found.value)),
            number(rows, "calibrated_achieved", |(cell, _)| of(&cell.record).map(|found| found.achieved)),
        ]);
    }
    columns.extend([
        measured(rows, "flops_reduction_achieved", |cell| cell.cost.flops_reduction_achieved),
        measured(rows, "flops_executed", |cell| cell.cost.flops_executed),
        text(rows, "protocol", |cell| Some(cell.trial.protocol.clone())),
        text(rows, "task", |cell| Some(cell.task.clone())),
        count(rows, "seed", |(cell, _)| Some(cell.record.trial.seed)),
        text(rows, "split", |cell| Some(cell.trial.split.name().to_owned())),
        count(rows, "limit", |(cell, _)| cell.record.trial.limit.map(|limit| limit as u64)),
    ]);
    columns
}

fn results(rows: &[Row]) -> Vec<Column> {
    vec![
        count(rows, "n", |(_, metric)| metric.map(|m| m.estimate.n as u64)),
        Column::new(
            "metric".into(),
            rows.iter().map(|(_, metric)| metric.map(|m| m.metric.clone())).collect::<Vec<Option<String>>>(),
        ),
        Column::new(
            "primary".into(),
            rows.iter()
                .map(|(cell, metric)| metric.map(|m| m.metric == cell.record.primary_metric))
                .collect::<Vec<Option<bool>>>(),
        ),
        metric(rows, "value", |m| Some(m.estimate.value)),
        metric(rows, "stderr", |m| Some(m.estimate.stderr)),
        metric(rows, "ci_low", |m| Some(m.estimate.interval.low)),
        metric(rows, "ci_high", |m| Some(m.estimate.interval.high)),
        metric(rows, "baseline_value", |m| m.baseline_value),
        metric(rows, "diff", |m| m.difference.map(|d| d.value)),
        metric(rows, "diff_ci_low", |m| m.difference.map(|d| d.interval.low)),
        metric(rows, "diff_ci_high", |m| m.difference.map(|d| d.interval.high)),
        metric(rows, "p_value", |m| m.difference.map(|d| d.p_value)),
        measured(rows, "coverage", mean_coverage),
    ]
}

fn circumstances(rows: &[Row]) -> Vec<Column> {
    vec![
        count(rows, "tokens_in", |(cell, _)| cell.is_done().then_some(cell.record.cost.tokens_in)),
        measured(rows, "tokens_per_s", |cell| cell.cost.tokens_per_s),
        count(rows, "peak_mem_bytes", |(cell, _)| cell.is_done().then_some(cell.record.cost.peak_mem_bytes)),
        measured(rows, "wall_s", |cell| cell.cost.wall_s),
        text(rows, "device", |cell| Some(cell.trial.device.clone())),
        text(rows, "dtype", |cell| Some(cell.trial.dtype.clone())),
        text(rows, "status", |cell| Some(status(cell.status).to_owned())),
        text(rows, "error", |cell| cell.error.clone()),
    ]
}

fn sites(sites: &[usize]) -> String {
    sites.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Done => "done",
        Status::Failed => "failed",
    }
}

/// NaN, hence null, without items.
fn mean_coverage(cell: &CellRecord) -> f64 {
    cell.items.iter().map(|item| item.coverage).sum::<f64>() / cell.items.len() as f64
}
