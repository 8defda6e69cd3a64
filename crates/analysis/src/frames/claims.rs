//! `claims`: one row per comparison of the experiment's claim.

use polars::prelude::*;
use records::claim::PlannedComparison;

use super::known;
use crate::claim::{ClaimResult, ComparisonResult};
use crate::study::Study;

type Row<'a> = (&'a PlannedComparison, &'a ComparisonResult);

pub(super) fn frame(study: &Study, result: &ClaimResult) -> PolarsResult<DataFrame> {
    let rows: Vec<Row> = result.claim.comparisons.iter().zip(&result.rows).collect();
    let finite = |value: f64| known(value).filter(|value| value.is_finite());
    let columns = vec![
        text(&rows, "experiment", |_| Some(study.plan.experiment.clone())),
        text(&rows, "claim_verdict", |_| Some(result.verdict.name().to_owned())),
        text(&rows, "name", |(planned, _)| planned.name.clone()),
        text(&rows, "model", |(planned, _)| planned.model.clone()),
        text(&rows, "protocol", |(planned, _)| planned.protocol.clone()),
        text(&rows, "setting", |(planned, _)| Some(planned.setting.clone())),
        text(&rows, "lower", |(planned, _)| Some(planned.lower.label.clone())),
        text(&rows, "higher", |(planned, _)| Some(planned.higher.label.clone())),
        text(&rows, "quantity", |(planned, _)| Some(planned.what().to_owned())),
        number(&rows, "margin", |(planned, _)| Some(planned.margin)),
        Column::new("n".into(), rows.iter().map(|(_, row)| row.n as u64).collect::<Vec<_>>()),
        number(&rows, "effect", |(_, row)| finite(row.decision.effect)),
        number(&rows, "ci_low", |(_, row)| finite(row.decision.interval.low)),
        number(&rows, "ci_high", |(_, row)| finite(row.decision.interval.high)),
        number(&rows, "level", |(_, row)| Some(row.decision.level)),
        number(&rows, "holm_ci_low", |(_, row)| finite(row.decision.deciding.low)),
        number(&rows, "holm_ci_high", |(_, row)| finite(row.decision.deciding.high)),
        number(&rows, "holm_level", |(_, row)| Some(1.0 - row.decision.alpha)),
        number(&rows, "p_value", |(_, row)| finite(row.decision.p_value)),
        number(&rows, "smallest_effect", |(_, row)| finite(row.smallest_effect())),
        number(&rows, "lower_flops_reduction_achieved", |(_, row)| finite(row.achieved[0])),
        number(&rows, "higher_flops_reduction_achieved", |(_, row)| finite(row.achieved[1])),
        text(&rows, "terms", |(_, row)| Some(row.terms.name().to_owned())),
        text(&rows, "verdict", |(_, row)| Some(row.decision.verdict.name().to_owned())),
        text(&rows, "missing", |(_, row)| row.missing.clone()),
    ];
    DataFrame::new(rows.len(), columns)
}

fn text(rows: &[Row], name: &str, value: impl Fn(&Row) -> Option<String>) -> Column {
    Column::new(name.into(), rows.iter().map(value).collect::<Vec<Option<String>>>())
}

fn number(rows: &[Row], name: &str, value: impl Fn(&Row) -> Option<f64>) -> Column {
    Column::new(name.into(), rows.iter().map(value).collect::<Vec<Option<f64>>>())
}
