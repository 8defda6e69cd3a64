//! `claims`: one row per comparison of the experiment's claim. `claim_effects`: what its entries say over models, and on each.

use polars::prelude::*;
use records::claim::PlannedComparison;

use super::known;
use crate::claim::{ClaimResult, ComparisonResult};
use crate::pooled::{OnModel, Pooled};
use crate::statistics::{Interval, Verdict};
use crate::study::Study;

type Row<'a> = (&'a PlannedComparison, &'a ComparisonResult);

pub(super) fn frame(study: &Study, result: &ClaimResult) -> PolarsResult<DataFrame> {
    let rows: Vec<Row> = result.claim.comparisons.iter().zip(&result.rows).collect();
    let finite = |value: f64| known(value).filter(|value| value.is_finite());
    let columns = vec![
        text(&rows, "experiment", |_| Some(study.plan.experiment.clone())),
        Column::new("entry".into(), rows.iter().map(|(planned, _)| planned.entry as u64).collect::<Vec<_>>()),
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

/// A row of `claim_effects`: pooled over models, or of one.
struct Effect<'a> {
    of: &'a Pooled,
    model: Option<&'a str>,
    mean: f64,
    interval: Interval,
    level: f64,
    between: [f64; 2],
    verdict: Option<Verdict>,
    missing: Option<&'a str>,
}

pub(super) fn effects(study: &Study, result: &ClaimResult) -> PolarsResult<DataFrame> {
    let none = Interval { low: f64::NAN, high: f64::NAN };
    let rows: Vec<Effect> = result
        .pooled
        .iter()
        .flat_map(|of| {
            let row = |model, mean, interval, level, between, verdict, missing| Effect {
                of,
                model,
                mean,
                interval,
                level,
                between,
                verdict,
                missing,
            };
            let whole = match &of.effect {
                Ok(own) => row(None, own.effect, own.interval, own.level, own.between, Some(own.verdict), None),
                Err(reason) => row(None, f64::NAN, none, f64::NAN, [f64::NAN; 2], None, Some(reason.as_str())),
            };
            let models = of.models.iter().map(move |OnModel { model, decision: own, missing }| {
                let missing = missing.as_deref();
                row(
                    Some(model.as_str()),
                    own.effect,
                    own.interval,
                    own.level,
                    [f64::NAN; 2],
                    Some(own.verdict),
                    missing,
                )
            });
            std::iter::once(whole).chain(models)
        })
        .collect();
    let finite = |value: f64| known(value).filter(|value| value.is_finite());
    let text = |name: &str, value: &dyn Fn(&Effect) -> Option<String>| {
        Column::new(name.into(), rows.iter().map(value).collect::<Vec<_>>())
    };
    let number = |name: &str, value: &dyn Fn(&Effect) -> f64| {
        Column::new(name.into(), rows.iter().map(|row| finite(value(row))).collect::<Vec<_>>())
    };
    let columns = vec![
        text("experiment", &|_| Some(study.plan.experiment.clone())),
        Column::new("entry".into(), rows.iter().map(|row| row.of.entry as u64).collect::<Vec<_>>()),
        text("name", &|row| row.of.name.clone()),
        text("protocol", &|row| row.of.protocol.clone()),
        text("model", &|row| row.model.map(str::to_owned)),
        text("quantity", &|row| Some(row.of.what.clone())),
        Column::new("tasks".into(), rows.iter().map(|row| row.of.tasks.len() as u64).collect::<Vec<_>>()),
        number("margin", &|row| row.of.margin),
        number("effect", &|row| row.mean),
        number("ci_low", &|row| row.interval.low),
        number("ci_high", &|row| row.interval.high),
        number("level", &|row| row.level),
        number("between_models", &|row| row.between[0]),
        number("between_tasks", &|row| row.between[1]),
        text("verdict", &|row| row.verdict.map(|verdict| verdict.name().to_owned())),
        text("missing", &|row| row.missing.map(str::to_owned)),
    ];
    DataFrame::new(rows.len(), columns)
}

fn text(rows: &[Row], name: &str, value: impl Fn(&Row) -> Option<String>) -> Column {
    Column::new(name.into(), rows.iter().map(value).collect::<Vec<Option<String>>>())
}

fn number(rows: &[Row], name: &str, value: impl Fn(&Row) -> Option<f64>) -> Column {
    Column::new(name.into(), rows.iter().map(value).collect::<Vec<Option<f64>>>())
}
