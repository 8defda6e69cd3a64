//! What lm-evaluation-harness says of the builtin models, item by item.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use evaluation::metrics::{Aggregate, Metric, metrics};
use evaluation::tasks::{Task, TaskKind};
use evaluation::{ItemScore, Protocol, Reduction, Settings, evaluate};
use serde::Deserialize;
use ssm_model::LanguageModel;

use crate::common;

/// What two programs may differ by that compute in float32 and sum in another order. The largest difference was 5e-5.
const TOLERANCE: f64 = 1e-3;

/// One model on one task.
#[derive(Deserialize)]
struct Stored {
    model: String,
    task: String,
    /// Value and standard error as the harness prints them.
    metrics: BTreeMap<String, (String, String)>,
    /// By item and request: log-likelihood, and 1 where greedy decoding yields the continuation.
    items: BTreeMap<String, Vec<(f64, u8)>>,
}

fn stored() -> Vec<Stored> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/scores.jsonl");
    let text = fs::read_to_string(path).unwrap();
    // The first line says what made the others.
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn compare_items(task: &Task, scores: &[ItemScore], stored: &Stored) {
    assert_eq!(task.items.len(), stored.items.len(), "{}: items", task.name);
    for (item, score) in task.items.iter().zip(scores) {
        let want = &stored.items[&item.id];
        assert_eq!(score.choices.len(), want.len(), "{}: requests", item.id);
        for (index, (got, (loglikelihood, greedy))) in score.choices.iter().zip(want).enumerate() {
            let difference = (got.loglikelihood - loglikelihood).abs();
            let place = format!("{} {} request {index}", stored.model, item.id);
            assert!(difference <= TOLERANCE, "{place}: {} instead of {loglikelihood}", got.loglikelihood);
            assert_eq!(got.greedy, *greedy == 1, "{place}: greedy");
        }
    }
}

/// The metrics under the harness's names: its `perplexity` counts a target once, however many tokens it has.
fn harness_metrics(task: &Task, scores: &[ItemScore]) -> Vec<Metric> {
    let mut metrics = metrics(task.kind, &task.items, scores);
    if task.kind == TaskKind::Target {
        metrics.retain(|metric| metric.name != "perplexity");
        let contributions = scores.iter().map(|score| (score.choices[0].loglikelihood, 1.0)).collect();
        metrics.push(Metric { name: "perplexity", aggregate: Aggregate::ExpNegMean, contributions });
    }
    metrics
}

/// Whether a number prints as `want`, with four decimals. A perplexity in the hundreds has more digits then than sums of float32
/// carry: six must be equal.
fn is_printed(got: f64, want: &str) -> bool {
    let printed: f64 = want.parse().unwrap();
    if printed < 100.0 { format!("{got:.4}") == want } else { (got / printed - 1.0).abs() < 5e-6 }
}

fn compare_metrics(task: &Task, scores: &[ItemScore], stored: &Stored) {
    let metrics = harness_metrics(task, scores);
    for (name, (want, _)) in &stored.metrics {
        let metric = metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"));
        let got = metric.value().unwrap();
        assert!(is_printed(got, want), "{} {} {name}: {got} instead of {want}", stored.model, task.name);
    }
    assert!(!stored.metrics.is_empty(), "{}: nothing compared", task.name);
}

fn agrees(name: &str, protocol: Protocol) {
    let model: LanguageModel = common::model(name);
    let reduction = Reduction::dense();
    let mut tasks = 0;
    for stored in stored().iter().filter(|stored| stored.model == name) {
        let task = common::task(&stored.task, stored.items.len());
        let setup = common::setup(&model, &task, protocol, &reduction);
        let scores = evaluate(&setup, Settings::default()).unwrap().items;
        compare_items(&task, &scores, stored);
        compare_metrics(&task, &scores, stored);
        tasks += 1;
    }
    assert_eq!(tasks, 7, "{name}: tasks");
}

#[test]
fn mamba_agrees_with_the_harness() {
    agrees("mamba-world", Protocol::Aligned);
}

#[test]
fn mamba2_agrees_with_the_harness() {
    agrees("mamba2-world", Protocol::Aligned);
}

#[test]
fn the_transformer_agrees_with_the_harness() {
    agrees("neox-world", Protocol::Aligned);
}

/// The continuation as a child of its context, which is how `context` scores.
#[test]
fn continued_contexts_agree_with_the_harness() {
    agrees("mamba2-world", Protocol::Context);
}
