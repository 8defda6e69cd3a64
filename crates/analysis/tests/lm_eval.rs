//! The form of the files of lm-evaluation-harness over a fake experiment; their numbers: `sweep-runner/tests/command/lm_eval.rs`.

mod support;

use std::fs;
use std::path::Path;

use analysis::lm_eval;
use hint::Hint;
use insta::assert_snapshot;
use serde_json::Value;

use support::Shape;

/// Two tasks of three items under the baseline and a strategy that loses a cell.
fn shape() -> Shape {
    let mut shape = Shape::small();
    shape.strategies.retain(|strategy| ["dense", "utrc_released"].contains(&strategy.0));
    shape.protocols = vec!["upstream"];
    shape.items = 3;
    shape
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// With ten decimals: the last bits of an exponential are the platform's.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), rounded(value))).collect(),
        Value::Array(values) => values.iter().map(rounded).collect(),
        Value::Number(number) if number.is_f64() => Value::from((number.as_f64().unwrap() * 1e10).round() / 1e10),
        other => other.clone(),
    }
}

#[test]
fn a_trial_is_a_folder_of_results_and_samples() {
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    support::write(folder.path(), &shape());
    let export = lm_eval::write(folder.path(), out.path()).unwrap();
    let names = export.results.iter().chain(&export.samples).map(|path| {
        let name = path.strip_prefix(out.path()).unwrap().display().to_string();
        assert!(path.is_file());
        name
    });
    assert_snapshot!("names", names.collect::<Vec<_>>().join("\n"));
    // A cell that failed, and one that never ran.
    assert_eq!(export.left_out, 2);
    assert_snapshot!("results", serde_json::to_string_pretty(&rounded(&json(&export.results[0]))).unwrap());
    let samples = export.samples[..2].iter().map(|path| fs::read_to_string(path).unwrap());
    assert_snapshot!("samples", samples.collect::<Vec<_>>().join("\n"));
}

#[test]
fn equal_records_give_equal_files() {
    let folder = tempfile::tempdir().unwrap();
    support::write(folder.path(), &shape());
    let write = || {
        let out = tempfile::tempdir().unwrap();
        let export = lm_eval::write(folder.path(), out.path()).unwrap();
        let files = export.results.iter().chain(&export.samples);
        files.map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(write(), write());
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let error = lm_eval::write(folder.path(), out.path()).unwrap_err();
    assert!(error.to_string().contains("`plan.json` is missing"), "{error}");
    assert!(error.hint().unwrap().contains("sweep run"));
    support::write(folder.path(), &shape());
    let file = out.path().join("file");
    fs::write(&file, "").unwrap();
    let error = lm_eval::write(folder.path(), &file).unwrap_err();
    assert!(error.hint().unwrap().contains("--lm-eval-output"), "{error}");
}
