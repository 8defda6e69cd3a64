//! Stable names of trials and cells: a hash over everything that can change a result, and nothing else.
//!
//! Hashed is compact JSON with sorted keys, numbers in their shortest exact form. A change of what enters here makes every
//! earlier record look unfinished, which is safe; leaving something out would pass off an old number as a new one.

use evaluation::{Positions, Protocol, SignalFrom, protocol};
use records::guards::GUARDS_VERSION;
use records::schema::SCHEMA_VERSION;
use serde_json::{Value, json};

use super::PlannedTrial;
use crate::config::{ModelFacts, PlannedTask};

/// Hex digits of an id: 64 bits, ample for a million cells.
const DIGITS: usize = 16;

pub(super) fn trial_id(trial: &PlannedTrial, model: &ModelFacts, upstream_batch_size: usize) -> String {
    let key = &trial.key;
    let mut parts = json!({
        "schema_version": SCHEMA_VERSION,
        "weights": model.weights_digest,
        "tokenizer": model.tokenizer_digest,
        "strategy": key.strategy,
        "strategy_version": trial.strategy.registration.version,
        "options": trial.strategy.options,
        "sites": key.sites,
        "keep_ratio": key.keep_ratio,
        "protocol": key.protocol,
        "seed": key.seed,
        "limit": key.limit,
        "device": key.device,
        "dtype": key.dtype,
    });
    if pads(&key.protocol) {
        parts["upstream_batch_size"] = json!(upstream_batch_size);
    }
    // Only a Transformer that was reduced has positions to choose, and the default is what records without them had.
    if let Some(positions) = trial.positions.filter(|positions| *positions != Positions::default()) {
        parts["positions"] = json!(positions.name());
    }
    // Only where a layer of a hybrid lacks what the rule reads, and the default is a refusal.
    if trial.signal_from != SignalFrom::default() {
        parts["signal_from"] = json!(trial.signal_from.name());
    }
    // Such a trial belongs to one task, and may have the ratio of another trial by accident.
    if let Some(asked) = key.flops_reduction_asked {
        parts["flops_reduction_asked"] = json!(asked);
        parts["task"] = json!(trial.task);
    }
    // What was asked for, and what was found: a task may have the threshold of another trial by accident.
    if let Some(request) = &trial.calibrate {
        parts["options"][request.option] = json!(trial.key.calibration.as_ref().map(|found| found.value));
        parts["calibrated"] = json!(request.option);
    }
    add_split(&mut parts, trial);
    digest(&parts)
}

/// Raised whenever the search for a threshold changes: thresholds that were found before are then looked for again.
const CALIBRATION_VERSION: u32 = 1;

/// Stable name of the search for a threshold: everything that can change what is found. The items are those of the split `tune`,
/// whatever the experiment sees.
pub(super) fn calibration_id(
    trial: &PlannedTrial,
    (model, task): (&ModelFacts, &PlannedTask),
    upstream_batch_size: usize,
    option: &str,
) -> String {
    let key = &trial.key;
    let mut parts = json!({
        "schema_version": SCHEMA_VERSION,
        "calibration_version": CALIBRATION_VERSION,
        "weights": model.weights_digest,
        "tokenizer": model.tokenizer_digest,
        "task": task.name,
        "data": task.data_digest,
        "strategy": key.strategy,
        "strategy_version": trial.strategy.registration.version,
        "options": trial.strategy.options,
        "option": option,
        "flops_reduction_asked": key.flops_reduction_asked,
        "sites": key.sites,
        "protocol": key.protocol,
        "positions": trial.positions.map(Positions::name),
        "seed": key.seed,
        "limit": key.limit,
        "device": key.device,
        "dtype": key.dtype,
    });
    parts["options"][option] = Value::Null;
    if pads(&key.protocol) {
        parts["upstream_batch_size"] = json!(upstream_batch_size);
    }
    digest(&parts)
}

/// Whether the rows of a batch are padded to one length, so that their number changes scores.
fn pads(name: &str) -> bool {
    protocol::find(name).is_some_and(Protocol::pads)
}

/// All items is what records without a split saw.
fn add_split(parts: &mut Value, trial: &PlannedTrial) {
    if !trial.key.split.is_all() {
        parts["split"] = json!(trial.key.split);
    }
}

pub(super) fn cell_id(trial: &PlannedTrial, task: &PlannedTask) -> String {
    digest(&json!({ "trial": trial.key.trial_id, "task": task.name, "data": task.data_digest }))
}

/// Raised whenever the content of a part, the way in which layouts are made, or the budgets of groups change: groups that were
/// finished before are then run again.
const GROUPS_VERSION: u32 = 2;

/// Stable name of how the items of a task are laid out, cut into groups and run.
pub(super) fn cohort_id(
    trial: &PlannedTrial,
    model: &ModelFacts,
    task: &PlannedTask,
    upstream_batch_size: usize,
) -> String {
    let key = &trial.key;
    let mut parts = json!({
        "schema_version": SCHEMA_VERSION,
        "groups_version": GROUPS_VERSION,
        "weights": model.weights_digest,
        "tokenizer": model.tokenizer_digest,
        "task": task.name,
        "data": task.data_digest,
        "protocol": key.protocol,
        "limit": key.limit,
        "device": key.device,
        "dtype": key.dtype,
    });
    if pads(&key.protocol) {
        parts["upstream_batch_size"] = json!(upstream_batch_size);
    }
    add_split(&mut parts, trial);
    digest(&parts)
}

/// Stable name of what the guards of a trial may find: the trial, everything that they score, and how they do it.
pub(super) fn guard_id(trial: &PlannedTrial, tasks: &[PlannedTask]) -> String {
    let tasks: Vec<_> = tasks.iter().map(|task| json!({ "task": task.name, "data": task.data_digest })).collect();
    digest(&json!({ "trial": trial.key.trial_id, "tasks": tasks, "guards_version": GUARDS_VERSION }))
}

pub(super) fn digest(parts: &Value) -> String {
    let mut text = String::new();
    write_canonical(parts, &mut text);
    blake3::hash(text.as_bytes()).to_hex()[..DIGITS].to_owned()
}

/// Sorts keys itself: whether `serde_json` keeps insertion order is decided by a feature that any dependency may switch on.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&json!(key).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_sorts_keys_at_every_depth() {
        let mut out = String::new();
        write_canonical(&json!({"b": [1, {"d": 0.5, "c": null}], "a": "x\"y"}), &mut out);
        assert_eq!(out, r#"{"a":"x\"y","b":[1,{"c":null,"d":0.5}]}"#);
    }
}
