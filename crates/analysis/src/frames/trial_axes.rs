//! `trial_axes`: what a trial is, one row each. It shares `trial_id` and nothing else with the frames of items and sites, and `model` with that
//! of texts, so that a natural join works.

use std::collections::BTreeSet;

use polars::prelude::*;
use records::schema::TrialKey;

use crate::labels::Labels;
use crate::study::Study;

pub(super) fn frame(study: &Study) -> PolarsResult<DataFrame> {
    let labels = Labels::of(study).by_trial(study);
    let mut seen = BTreeSet::new();
    let keys = study.cells.iter().map(|cell| &cell.record.trial);
    let rows: Vec<&TrialKey> = keys.filter(|key| seen.insert(&key.trial_id)).collect();
    let text = |name: &str, of: &dyn Fn(&TrialKey) -> Option<String>| {
        Column::new(name.into(), rows.iter().map(|key| of(key)).collect::<Vec<_>>())
    };
    let number = |name: &str, of: &dyn Fn(&TrialKey) -> Option<f64>| {
        Column::new(name.into(), rows.iter().map(|key| of(key)).collect::<Vec<_>>())
    };
    let columns = vec![
        text("trial_id", &|key| Some(key.trial_id.clone())),
        text("label", &|key| labels.get(key.trial_id.as_str()).cloned()),
        Column::new(
            "is_baseline".into(),
            rows.iter().map(|key| key.strategy == study.plan.baseline).collect::<Vec<_>>(),
        ),
        text("model", &|key| Some(key.model.clone())),
        text("strategy", &|key| Some(key.strategy.clone())),
        text("strategy_params", &|key| Some(key.strategy_params.clone())),
        text("importance", &|key| key.importance.clone()),
        text("importance_source", &|key| key.importance_source.clone()),
        text("schedule", &|key| Some(key.schedule.clone())),
        number("keep_ratio", &|key| key.keep_ratio),
        number("flops_reduction_nominal", &|key| key.flops_reduction_nominal),
        number("flops_reduction_asked", &|key| key.flops_reduction_asked),
        text("protocol", &|key| Some(key.protocol.clone())),
        Column::new("seed".into(), rows.iter().map(|key| key.seed).collect::<Vec<_>>()),
        text("split", &|key| Some(key.split.name().to_owned())),
        Column::new("limit".into(), rows.iter().map(|key| key.limit.map(|limit| limit as u64)).collect::<Vec<_>>()),
        text("device", &|key| Some(key.device.clone())),
        text("dtype", &|key| Some(key.dtype.clone())),
    ];
    DataFrame::new(rows.len(), columns)
}
