//! Scores of the trained builtin models against those of an independent program (`items/README.md`).

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use evaluation::metrics::metrics;
use evaluation::protocol::{ALIGNED, CONTEXT};
use evaluation::tasks::{Task, TaskKind, books_tasks, builtin_tasks};
use evaluation::{ItemScore, Reduction, Scoring, Settings, evaluate};
use serde::Deserialize;
use serde_json::Value;
use ssm_model::LanguageModel;

/// What the two programs may differ by, from rounding in the files and from the order of sums.
const TOLERANCE: f64 = 1e-3;

/// The same for the models that were trained on novels, which are four times as wide.
const BOOKS_TOLERANCE: f64 = 2e-3;

/// Texts were cut there for the stored values.
const BOOKS_LENGTH: usize = 4096;

#[derive(Deserialize)]
struct StoredItem {
    id: String,
    choices: Vec<StoredChoice>,
}

#[derive(Deserialize)]
struct StoredChoice {
    ll: f64,
    n: usize,
    /// Absent for running text, of which no document is the greedy one.
    greedy: Option<bool>,
    /// Absent where there are more than eight.
    #[serde(default)]
    tokens: Vec<f64>,
}

fn read(model: &str, file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/items").join(model).join(file)).unwrap()
}

fn stored(model: &str) -> BTreeMap<String, StoredItem> {
    let items = read(model, "items.jsonl");
    let items = items.lines().map(|line| serde_json::from_str::<StoredItem>(line).unwrap());
    items.map(|item| (item.id.clone(), item)).collect()
}

fn scores(model: &LanguageModel, task: &Task, scoring: Scoring) -> Vec<ItemScore> {
    let reduction = Reduction::dense();
    evaluate(&common::setup(model, task, scoring, &reduction), Settings::default()).unwrap().items
}

fn compare_items(task: &Task, scores: &[ItemScore], stored: &BTreeMap<String, StoredItem>, tolerance: f64) {
    for (item, score) in task.items.iter().zip(scores) {
        let want = &stored[&item.id];
        assert_eq!(score.choices.len(), want.choices.len(), "{}: choices", item.id);
        for (index, (got, want)) in score.choices.iter().zip(&want.choices).enumerate() {
            let place = format!("{} choice {index}", item.id);
            // Hundreds of rounded terms add up in running text.
            let scale = if task.kind == TaskKind::RunningText { (want.ll.abs() / 100.0).max(1.0) } else { 1.0 };
            let difference = (got.loglikelihood - want.ll).abs();
            assert!(difference <= tolerance * scale, "{place}: {} instead of {}", got.loglikelihood, want.ll);
            assert_eq!(got.tokens.len(), want.n, "{place}: scored tokens");
            assert_eq!((got.asked, got.covered), (want.n, want.n), "{place}: coverage of a dense run");
            if task.kind == TaskKind::RunningText {
                assert!(want.greedy.is_none() && !got.greedy, "{place}: greedy");
            } else {
                assert_eq!(Some(got.greedy), want.greedy, "{place}: greedy");
            }
            for (token, want) in got.tokens.iter().zip(&want.tokens) {
                let got = f64::from(token.log_prob);
                assert!((got - want).abs() <= tolerance, "{place} token {}: {got} instead of {want}", token.index);
            }
        }
    }
}

fn compare_metrics(task: &Task, scores: &[ItemScore], accuracy: &Value) {
    let want = &accuracy[&task.name];
    assert_eq!(want["n"], task.items.len(), "{}: items", task.name);
    let metrics = metrics(task.kind, &task.items, scores);
    let mut compared = 0;
    for (ours, theirs) in [
        ("acc", "acc"),
        ("acc_norm", "acc_norm"),
        ("token_acc", "token_acc"),
        ("perplexity", "ppl"),
        ("recall_perplexity", "recall_ppl"),
        ("recall_acc", "recall_acc"),
    ] {
        let Some(want) = want[theirs].as_f64() else { continue };
        let got = metrics.iter().find(|metric| metric.name == ours).and_then(evaluation::metrics::Metric::value);
        let got = got.unwrap_or_else(|| panic!("{}: no {ours}", task.name));
        // Shares are exact up to the rounding of the file; a perplexity carries the tolerance of its log-likelihoods.
        let tolerance = if theirs.ends_with("ppl") { TOLERANCE } else { 1e-4 };
        assert!((got - want).abs() < tolerance, "{} {ours}: {got} instead of {want}", task.name);
        compared += 1;
    }
    assert!(compared > 0, "{}: nothing compared", task.name);
}

fn agrees(name: &str) {
    let model = common::model(name);
    let stored = stored(name);
    let accuracy: Value = serde_json::from_str(&read(name, "accuracy.json")).unwrap();
    let mut items = 0;
    for builtin in builtin_tasks() {
        let limit = if builtin.kind == TaskKind::RunningText { 24 } else { 100 };
        let task = common::task(builtin.name, limit);
        items += task.items.len();
        let scores = scores(&model, &task, ALIGNED.defaults());
        compare_items(&task, &scores, &stored, TOLERANCE);
        compare_metrics(&task, &scores, &accuracy);
    }
    assert_eq!(items, stored.len(), "every stored item has been compared");
}

#[test]
fn mamba_scores_every_stored_item_alike() {
    agrees("mamba-world");
}

#[test]
fn mamba2_scores_every_stored_item_alike() {
    agrees("mamba2-world");
}

#[test]
fn the_transformer_scores_every_stored_item_alike() {
    agrees("neox-world");
}

/// Models and tasks over novels: choices, targets and running text in pieces of words. `items` of each task, `texts` of running text.
fn books_agree(name: &str, items: usize, texts: usize) {
    let model = common::model(name);
    let stored = stored(name);
    let mut compared = 0;
    for builtin in books_tasks().iter().filter(|task| task.name != "books_long") {
        let mut task = common::task(builtin.name, if builtin.kind == TaskKind::RunningText { texts } else { items });
        for context in task.items.iter_mut().flat_map(|item| &mut item.contexts) {
            context.tokens.truncate(BOOKS_LENGTH);
        }
        compared += task.items.len();
        compare_items(&task, &scores(&model, &task, ALIGNED.defaults()), &stored, BOOKS_TOLERANCE);
    }
    assert_eq!(compared, 4 * items + texts);
    assert!(compared <= stored.len());
}

const BOOKS_MODELS: [&str; 4] = ["mamba-books", "mamba2-books", "hybrid-books", "neox-books"];

#[test]
fn models_of_novels_score_stored_items_alike() {
    for name in BOOKS_MODELS {
        books_agree(name, 6, 1);
    }
}

#[test]
#[ignore = "slow: `just parity`, minutes on two cores"]
fn models_of_novels_score_every_stored_item_alike() {
    for name in BOOKS_MODELS {
        books_agree(name, 60, 8);
    }
}

/// Here each continuation is a child segment of its context: the state that crosses the border must be the right one.
#[test]
fn continuations_run_from_the_state_of_their_context() {
    for name in ["mamba-world", "mamba2-world", "neox-world"] {
        let model = common::model(name);
        let stored = stored(name);
        for (task, limit) in [("world_lambada", 20), ("world_hellaswag", 20), ("world_winogrande", 20), ("mqar", 5)] {
            let task = common::task(task, limit);
            compare_items(&task, &scores(&model, &task, CONTEXT.defaults()), &stored, TOLERANCE);
        }
    }
}

/// The stored `acc_norm` divides by characters, ours by bytes.
#[test]
fn characters_are_bytes_in_these_tasks() {
    for builtin in builtin_tasks().iter().filter(|task| task.kind == TaskKind::MultipleChoice) {
        let path = format!("assets/reference-tasks/{}.jsonl", builtin.name);
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        assert!(text.is_ascii(), "{}", builtin.name);
    }
}
