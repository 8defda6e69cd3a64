//! `bridges`: one row per arm of each bridge and score.

use polars::prelude::*;

use super::known;
use crate::bridge::{BridgeArm, BridgePanel, BridgeResult, BridgeScore};
use crate::study::Study;

/// Bridge, panel, place of the arm in it, arm.
type Row<'a> = (&'a str, &'a BridgePanel, usize, &'a BridgeArm);

pub(super) fn frame(study: &Study, bridges: &[BridgeResult]) -> PolarsResult<DataFrame> {
    let panels = bridges.iter().flat_map(|bridge| bridge.panels.iter().map(|panel| (bridge.name.as_str(), panel)));
    let rows: Vec<Row> = panels
        .flat_map(|(name, panel)| panel.arms.iter().enumerate().map(move |(index, arm)| (name, panel, index, arm)))
        .collect();
    let columns = vec![
        text(&rows, "experiment", |_| Some(study.plan.experiment.clone())),
        text(&rows, "bridge", |(name, ..)| Some((*name).to_owned())),
        text(&rows, "model", |(_, panel, ..)| Some(panel.model.clone())),
        text(&rows, "setting", |(_, panel, ..)| Some(panel.setting.clone())),
        text(&rows, "tasks", |(_, panel, ..)| Some(panel.tasks.join(", "))),
        text(&rows, "metric", |(_, panel, ..)| Some(panel.metric.clone())),
        text(&rows, "unit", |(_, panel, ..)| Some(panel.unit().to_owned())),
        Column::new("step".into(), rows.iter().map(|(_, _, index, _)| *index as u64).collect::<Vec<_>>()),
        text(&rows, "factor", |(.., arm)| Some(arm.factor.clone())),
        text(&rows, "rule", |(.., arm)| Some(arm.rule.clone())),
        text(&rows, "protocol", |(.., arm)| Some(arm.protocol.clone()).filter(|protocol| !protocol.is_empty())),
        number(&rows, "n", |score| Some(score.estimate.n as f64)),
        number(&rows, "value", |score| Some(score.estimate.value)),
        number(&rows, "ci_low", |score| Some(score.estimate.interval.low)),
        number(&rows, "ci_high", |score| Some(score.estimate.interval.high)),
        number(&rows, "baseline_value", |score| score.baseline),
        number(&rows, "diff", |score| score.step.map(|step| step.value)),
        number(&rows, "diff_ci_low", |score| score.step.map(|step| step.interval.low)),
        number(&rows, "diff_ci_high", |score| score.step.map(|step| step.interval.high)),
        number(&rows, "p_value", |score| score.step.map(|step| step.p_value)),
        number(&rows, "from_first", |score| score.from_first.map(|step| step.value)),
        number(&rows, "from_first_ci_low", |score| score.from_first.map(|step| step.interval.low)),
        number(&rows, "from_first_ci_high", |score| score.from_first.map(|step| step.interval.high)),
        number(&rows, "flops_reduction_achieved", |score| Some(score.flops_reduction_achieved)),
        text(&rows, "terms", |(.., arm)| arm.result.as_ref().map(|score| score.terms.name().to_owned())),
    ];
    DataFrame::new(rows.len(), columns)
}

fn text(rows: &[Row], name: &str, value: impl Fn(&Row) -> Option<String>) -> Column {
    Column::new(name.into(), rows.iter().map(value).collect::<Vec<Option<String>>>())
}

fn number(rows: &[Row], name: &str, value: impl Fn(&BridgeScore) -> Option<f64>) -> Column {
    let values = rows.iter().map(|(.., arm)| arm.result.as_ref().and_then(&value).and_then(known));
    Column::new(name.into(), values.collect::<Vec<Option<f64>>>())
}
