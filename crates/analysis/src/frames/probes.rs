//! `probe_<name>`: one row per model, task, trial (where the probe looks at strategies), key and measure.

use polars::prelude::*;
use records::probes::Key;
use records::schema::TrialKey;

use super::known;
use crate::probes::{ProbeSet, Probes};
use crate::statistics::Estimate;

/// The names of the frames of all probes, with the records of each.
pub(super) fn sets(probes: &Probes) -> Vec<(String, Vec<&ProbeSet>)> {
    let mut all: Vec<(String, Vec<&ProbeSet>)> = Vec::new();
    for set in &probes.sets {
        let name = format!("probe_{}", set.record.probe);
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sets)) => sets.push(set),
            None => all.push((name, vec![set])),
        }
    }
    all
}

/// One row of the frame: its set and the index of its row there; a failed probe is one row without measure.
type Row<'a> = (&'a ProbeSet, Option<usize>);

pub(super) fn frame(sets: &[&ProbeSet]) -> PolarsResult<DataFrame> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for set in sets {
        if set.is_done() {
            rows.extend((0..set.record.rows.len()).map(|row| (*set, Some(row))));
        } else {
            rows.push((set, None));
        }
    }
    let text = |name: &str, value: &dyn Fn(&Row<'_>) -> Option<String>| {
        Column::new(name.into(), rows.iter().map(value).collect::<Vec<_>>())
    };
    let number = |name: &str, value: &dyn Fn(&Estimate) -> f64| {
        let values: Vec<Option<f64>> =
            rows.iter().map(|(set, row)| row.and_then(|row| known(value(&set.estimates[row])))).collect();
        Column::new(name.into(), values)
    };
    let mut columns = vec![
        text("probe_id", &|(set, _)| Some(set.record.probe_id.clone())),
        text("model", &|(set, _)| Some(set.record.model.clone())),
        text("task", &|(set, _)| Some(set.record.task.clone())),
        text("options", &|(set, _)| Some(set.record.options.clone())),
    ];
    if sets.iter().any(|set| set.record.trial.is_some()) {
        let trial = |name: &str, value: &dyn Fn(&TrialKey) -> String| {
            text(name, &|(set, _)| set.record.trial.as_ref().map(value))
        };
        columns.extend([
            trial("trial_id", &|key| key.trial_id.clone()),
            trial("strategy", &|key| key.strategy.clone()),
            trial("strategy_params", &|key| key.strategy_params.clone()),
            trial("schedule", &|key| key.schedule.clone()),
        ]);
        let share = |name: &str, value: &dyn Fn(&TrialKey) -> Option<f64>| {
            Column::new(
                name.into(),
                rows.iter().map(|(set, _)| set.record.trial.as_ref().and_then(value)).collect::<Vec<_>>(),
            )
        };
        columns.push(share("keep_ratio", &|key| key.keep_ratio));
        columns.push(share("flops_reduction_nominal", &|key| key.flops_reduction_nominal));
        let asked = |key: &TrialKey| key.flops_reduction_asked;
        let asked: Vec<Option<f64>> = rows.iter().map(|(set, _)| set.record.trial.as_ref().and_then(asked)).collect();
        if asked.iter().any(Option::is_some) {
            columns.push(Column::new("flops_reduction_asked".into(), asked));
        }
        let seeds: Vec<Option<u64>> =
            rows.iter().map(|(set, _)| set.record.trial.as_ref().map(|key| key.seed)).collect();
        columns.push(Column::new("seed".into(), seeds));
    }
    let names = sets.first().map_or(&[][..], |set| set.record.columns.as_slice());
    for (index, name) in names.iter().enumerate() {
        columns.push(key_column(name, &rows, index));
    }
    columns.push(text("measure", &|(set, row)| row.map(|row| set.record.rows[row].measure.clone())));
    let n: Vec<Option<u64>> = rows.iter().map(|(set, row)| row.map(|row| set.estimates[row].n as u64)).collect();
    columns.push(Column::new("n".into(), n));
    columns.extend([
        number("value", &|estimate| estimate.value),
        number("stderr", &|estimate| estimate.stderr),
        number("ci_low", &|estimate| estimate.interval.low),
        number("ci_high", &|estimate| estimate.interval.high),
    ]);
    columns.push(text("status", &|(set, _)| Some(if set.is_done() { "done" } else { "failed" }.to_owned())));
    columns.push(text("error", &|(set, _)| set.record.error.clone()));
    DataFrame::new(rows.len(), columns)
}

/// A key column has the type of its values: whole numbers, numbers or text.
fn key_column(name: &str, rows: &[Row<'_>], index: usize) -> Column {
    let keys: Vec<&Key> =
        rows.iter().map(|(set, row)| row.map_or(&Key::None, |row| &set.record.rows[row].keys[index])).collect();
    if keys.iter().any(|key| matches!(key, Key::Text(_))) {
        let words = keys.iter().map(|key| if let Key::Text(word) = key { Some(word.as_str()) } else { None });
        return Column::new(name.into(), words.collect::<Vec<_>>());
    }
    if keys.iter().any(|key| matches!(key, Key::Number(_))) {
        let numbers = keys.iter().map(|key| match key {
            Key::Number(number) => Some(*number),
            Key::Whole(number) => Some(*number as f64),
            _ => None,
        });
        return Column::new(name.into(), numbers.collect::<Vec<_>>());
    }
    let numbers = keys.iter().map(|key| if let Key::Whole(number) = key { Some(*number) } else { None });
    Column::new(name.into(), numbers.collect::<Vec<_>>())
}
