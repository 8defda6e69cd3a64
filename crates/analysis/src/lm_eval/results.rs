//! `results_<date>.json` of one trial.

use std::collections::BTreeMap;

use records::names::BENCHMARKS;
use records::schema::{CellRecord, TrialKey};
use serde_json::{Map, Value, json};

use super::measured::{Measured, output_type};

/// Everything of a trial, with the keys of the harness; what is this project's own is under `ssm_reduce`.
pub(super) fn results(key: &TrialKey, folder: &str, fewshot: usize, cells: &[(&CellRecord, Vec<Measured>)]) -> Value {
    let by_task = |value: &dyn Fn(&CellRecord, &[Measured]) -> Option<Value>| {
        let values = cells.iter().filter_map(|(cell, metrics)| Some((cell.task.clone(), value(cell, metrics)?)));
        Value::Object(values.collect::<Map<_, _>>())
    };
    json!({
        "results": by_task(&|cell, metrics| Some(task_results(cell, metrics))),
        "group_subtasks": {},
        "configs": by_task(&|cell, metrics| Some(config(cell, metrics, fewshot))),
        "versions": by_task(&|cell, _| version(&cell.task).map(Value::from)),
        "n-shot": by_task(&|cell, _| Some(json!(n_shot(&cell.task, fewshot)))),
        "higher_is_better": by_task(&|_, metrics| Some(higher_is_better(metrics))),
        "n-samples": by_task(&|cell, _| Some(json!({ "effective": cell.items.len() }))),
        "config": {
            "model": "ssm-reduce",
            "model_args": model_args(key),
            "model_dtype": key.dtype,
            "device": key.device,
            "limit": key.limit,
            "bootstrap_iters": 100_000,
        },
        "task_hashes": {},
        "model_source": "ssm-reduce",
        "model_name": key.model,
        "model_name_sanitized": folder,
        "system_instruction": null,
        "chat_template": null,
        "ssm_reduce": {
            "trial": key,
            "flops_reduction_achieved": by_task(&|cell, _| Some(json!(cell.cost.flops_reduction_achieved))),
            "cell_ids": by_task(&|cell, _| Some(json!(cell.cell_id))),
        },
    })
}

/// Values and standard errors under `metric,filter`; there are no filters here, which the harness calls `none`.
fn task_results(cell: &CellRecord, metrics: &[Measured]) -> Value {
    let mut results = Map::new();
    results.insert("name".to_owned(), json!(cell.task));
    results.insert("alias".to_owned(), json!(cell.task));
    results.insert("sample_len".to_owned(), json!(cell.items.len()));
    for metric in metrics {
        results.insert(format!("{},none", metric.name), json!(metric.value));
        let stderr = metric.stderr.map_or_else(|| json!("N/A"), |stderr| json!(stderr));
        results.insert(format!("{}_stderr,none", metric.name), stderr);
    }
    Value::Object(results)
}

fn config(cell: &CellRecord, metrics: &[Measured], fewshot: usize) -> Value {
    let metric_list = metrics.iter().map(|metric| {
        json!({
            "metric": metric.name,
            "aggregation": metric.aggregation.name(),
            "higher_is_better": metric.aggregation.higher_is_better(),
        })
    });
    json!({
        "task": cell.task,
        "output_type": output_type(cell),
        "num_fewshot": n_shot(&cell.task, fewshot),
        "metric_list": metric_list.collect::<Vec<_>>(),
        "metadata": version(&cell.task).map(|version| json!({ "version": version })),
    })
}

/// Solved examples before each question; the reference tasks take none.
fn n_shot(task: &str, fewshot: usize) -> usize {
    if BENCHMARKS.contains(&task) { fewshot } else { 0 }
}

fn higher_is_better(metrics: &[Measured]) -> Value {
    let metrics = metrics.iter().map(|metric| (metric.name.clone(), json!(metric.aggregation.higher_is_better())));
    Value::Object(metrics.collect())
}

/// Version of the harness's task whose requests this project's equal (`crates/evaluation/tests/oracle`); none where the harness has
/// no such task.
fn version(task: &str) -> Option<f64> {
    let versions = BTreeMap::from([
        ("arc_challenge", 1.0),
        ("arc_easy", 1.0),
        ("boolq", 2.0),
        ("hellaswag", 1.0),
        ("induction", 1.0),
        ("lambada_openai", 1.0),
        ("mmlu", 2.0),
        ("openbookqa", 1.0),
        ("piqa", 1.0),
        ("sciq", 1.0),
        ("wikitext", 2.0),
        ("winogrande", 1.0),
        ("world_arc_challenge", 1.0),
        ("world_arc_easy", 1.0),
        ("world_hellaswag", 1.0),
        ("world_lambada", 1.0),
        ("world_piqa", 1.0),
        ("world_winogrande", 1.0),
    ]);
    versions.get(task).copied()
}

/// The trial as the harness writes arguments: `name=value`, separated by commas, which no value may hold.
fn model_args(key: &TrialKey) -> String {
    let mut words = vec![
        format!("pretrained={}", key.model),
        format!("dtype={}", key.dtype),
        format!("strategy={}", key.strategy),
        format!("protocol={}", key.protocol),
    ];
    // A free count has no ratio: its options decide.
    words.extend(key.keep_ratio.map(|ratio| format!("keep_ratio={ratio}")));
    words.extend([
        format!("sites={}", key.sites.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")),
        format!("seed={}", key.seed),
    ]);
    words.extend(key.calibration.as_ref().map(|found| format!("{}={}", found.option, found.value)));
    if key.strategy_params != "{}" {
        words.push(format!("strategy_params={}", key.strategy_params.replace(',', ";")));
    }
    words.join(",")
}
