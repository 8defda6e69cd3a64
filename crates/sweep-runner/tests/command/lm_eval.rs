//! The files of lm-evaluation-harness over the builtin models: their numbers are the harness's. Their form: `analysis/tests/lm_eval.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use serde::Deserialize;
use serde_json::Value;

use crate::desk::{Desk, TINY, text};

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_shard_has_not_all_cells() {
    let desk = Desk::new(TINY);
    let output = desk.sweep(&["run", "tiny.yaml", "--shard", "1/2", "--lm-eval-output", "lm"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!desk.path("lm").exists() && !desk.path("results").exists());
    assert_snapshot!(text(&output.stderr), @"
    × --lm-eval-output needs all cells, and this run is a shard
    help: leave it out here, and write it when all shards are done: sweep report FOLDER --lm-eval-output DIR
    ");
}

/// What the harness says of a builtin model on a task (`crates/evaluation/tests/oracle`).
#[derive(Deserialize)]
struct Stored {
    model: String,
    task: String,
    /// Value and standard error, as it prints them.
    metrics: BTreeMap<String, (String, String)>,
    items: BTreeMap<String, Vec<(f64, u8)>>,
}

fn stored() -> Vec<Stored> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../evaluation/tests/oracle/scores.jsonl");
    let text = fs::read_to_string(path).unwrap();
    let all = text.lines().skip(1).map(|line| serde_json::from_str::<Stored>(line).unwrap());
    // Pages that no experiment can name: what `wikitext` reads of a data directory has words that these models do not know.
    all.filter(|stored| stored.task != "wikitext").collect()
}

/// Whether a number prints as `want`, with four decimals. In the hundreds these are more digits than float32 carries: six must be
/// equal.
fn is_printed(got: f64, want: &str) -> bool {
    let printed: f64 = want.parse().unwrap();
    if printed < 100.0 { format!("{got:.4}") == want } else { (got / printed - 1.0).abs() < 5e-6 }
}

/// From the experiment file to `results_*.json`: values and standard errors are those that the harness prints for the same model,
/// items and task.
#[test]
fn values_and_standard_errors_are_those_of_the_harness() {
    let stored = stored();
    let of = |name: fn(&Stored) -> &str| {
        let mut names: Vec<&str> = Vec::new();
        for stored in &stored {
            if !names.contains(&name(stored)) {
                names.push(name(stored));
            }
        }
        names
    };
    let (models, tasks) = (of(|stored| &stored.model), of(|stored| &stored.task));
    let models: Vec<String> = models.into_iter().map(|name| format!("builtin:{name}")).collect();
    let limit = stored[0].items.len();
    let desk = Desk::new(&format!(
        "name: oracle\nmodels: [{}]\ntasks: [{}]\nprotocols: [context]\nstrategies: [dense]\nlimit: {limit}\n",
        models.join(", "),
        tasks.join(", ")
    ));
    let output = desk.sweep(&["run", "tiny.yaml", "--out", "out", "--lm-eval-output", "lm"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let results: Vec<Value> = fs::read_dir(desk.path("lm"))
        .unwrap()
        .map(|entry| json(&entry.unwrap().path().join("results_1970-01-01T00-00-00.000000.json")))
        .collect();
    assert_eq!(results.len(), models.len());
    let mut compared = 0;
    for stored in &stored {
        let model = format!("builtin:{}", stored.model);
        let results = results.iter().find(|results| results["model_name"] == model.as_str()).unwrap();
        let results = &results["results"][&stored.task];
        assert_eq!(results["sample_len"], stored.items.len());
        for (metric, (value, stderr)) in &stored.metrics {
            for (key, want) in [(format!("{metric},none"), value), (format!("{metric}_stderr,none"), stderr)] {
                let got = results[&key].as_f64().unwrap_or_else(|| panic!("{model} {}: no {key}", stored.task));
                assert!(is_printed(got, want), "{model} {} {key}: {got} instead of {want}", stored.task);
                compared += 1;
            }
        }
    }
    // Three models; six tasks of two metrics and one of one, each with its error.
    assert_eq!(compared, 3 * (6 * 4 + 2));
}
