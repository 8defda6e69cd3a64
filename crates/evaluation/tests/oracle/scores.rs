//! What lm-evaluation-harness says of the builtin models, item by item.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use evaluation::metrics::{Measure, Metric, measured, metrics};
use evaluation::protocol::{ALIGNED, CONTEXT};
use evaluation::tasks::{Data, Prompting, Source, Split, Task, TaskKind, load};
use evaluation::tokenizer::Tokenizer;
use evaluation::{ItemScore, Reduction, Scoring, Settings, evaluate};
use serde::Deserialize;
use serde_json::{Value, json};
use ssm_model::{LanguageModel, catalog};

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
    if task.kind == TaskKind::Target {
        return measured(&[Measure::Acc, Measure::TargetPerplexity], task.kind, &task.items, scores);
    }
    metrics(task.kind, &task.items, scores)
}

/// Whether a number prints as `want`, with four decimals. A perplexity in the hundreds has more digits then than sums of float32
/// carry: six must be equal.
fn is_printed(got: f64, want: &str) -> bool {
    let printed: f64 = want.parse().unwrap();
    if printed < 100.0 { format!("{got:.4}") == want } else { (got / printed - 1.0).abs() < 5e-6 }
}

fn compare_metrics(task: &Task, metrics: &[Metric], stored: &Stored) {
    for (name, (want, _)) in &stored.metrics {
        let metric = metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"));
        let got = metric.value().unwrap();
        assert!(is_printed(got, want), "{} {} {name}: {got} instead of {want}", stored.model, task.name);
    }
    assert!(!stored.metrics.is_empty(), "{}: nothing compared", task.name);
}

fn agrees(name: &str, scoring: Scoring) {
    let model: LanguageModel = common::model(name);
    let reduction = Reduction::dense();
    let mut tasks = 0;
    for stored in stored().iter().filter(|stored| stored.model == name && stored.task != "wikitext") {
        let task = common::task(&stored.task, stored.items.len());
        let setup = common::setup(&model, &task, scoring, &reduction);
        let scores = evaluate(&setup, Settings::default()).unwrap().items;
        compare_items(&task, &scores, stored);
        compare_metrics(&task, &harness_metrics(&task, &scores), stored);
        tasks += 1;
    }
    assert_eq!(tasks, 7, "{name}: tasks");
}

#[test]
fn mamba_agrees_with_the_harness() {
    agrees("mamba-world", ALIGNED.defaults());
}

#[test]
fn mamba2_agrees_with_the_harness() {
    agrees("mamba2-world", ALIGNED.defaults());
}

#[test]
fn the_transformer_agrees_with_the_harness() {
    agrees("neox-world", ALIGNED.defaults());
}

/// The continuation as a child of its context, which is how `context` scores.
#[test]
fn continued_contexts_agree_with_the_harness() {
    agrees("mamba2-world", CONTEXT.defaults());
}

/// As in `make_scores.py`.
const WINDOW: usize = 128;

/// The texts of `world_text` as pages of `wikitext`, in the data directory of this test.
fn pages(stored: &Stored) -> Task {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = fs::read_to_string(manifest.join("assets/reference-tasks/world_text.jsonl")).unwrap();
    let texts = texts.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows: Vec<String> = texts
        .filter(|text| stored.items.contains_key(text["id"].as_str().unwrap()))
        .map(|text| json!({ "page": text["text"] }).to_string())
        .collect();
    let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    fs::create_dir_all(data.join("wikitext2")).unwrap();
    fs::write(data.join("wikitext2/wikitext2_test.jsonl"), rows.join("\n")).unwrap();
    let prompting = Prompting { max_length: WINDOW, ..Prompting::default() };
    let source = Source { data: Data::Folder(data), prompting };
    let tokenizer = Tokenizer::from_json(catalog::builtins()[0].tokenizer_json).unwrap();
    let tokenizer = tokenizer.with_config(r#"{"bos_token": "<eos>"}"#).unwrap();
    load("wikitext", &source, &tokenizer, Split::All, None).unwrap()
}

/// Running text in windows: every log-likelihood of a text of up to two thousand tokens, and the perplexities by words and bytes.
#[test]
fn windows_of_running_text_agree_with_the_harness() {
    let all = stored();
    let stored: Vec<&Stored> = all.iter().filter(|stored| stored.task == "wikitext").collect();
    assert_eq!(stored.len(), 3, "models");
    let task = pages(stored[0]);
    let reduction = Reduction::dense();
    for stored in stored {
        let model = common::model(&stored.model);
        let scores = evaluate(&common::setup(&model, &task, ALIGNED.defaults(), &reduction), Settings::default());
        let scores = scores.unwrap().items;
        assert_eq!(scores.len(), stored.items.len());
        let mut windows = 0;
        for (score, (id, want)) in scores.iter().zip(&stored.items) {
            let got: f64 = score.choices.iter().map(|choice| choice.loglikelihood).sum();
            let want = want[0].0;
            // Thousands of terms of float32 precision.
            assert!((got / want - 1.0).abs() < 1e-5, "{} {id}: {got} instead of {want}", stored.model);
            windows += score.choices.len();
        }
        assert!(windows > 2 * scores.len(), "texts of several windows");
        compare_metrics(&task, &measured(task.measures, task.kind, &task.items, &scores), stored);
    }
}
