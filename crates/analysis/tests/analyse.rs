//! The analysis of a fake experiment: columns, rows, determinism, failures.

mod support;

use std::fs;

use hint::Hint;
use polars::prelude::*;
use support::Shape;

fn parquet(bytes: &std::path::Path) -> DataFrame {
    ParquetReader::new(fs::File::open(bytes).expect("the frame was written")).finish().expect("valid Parquet")
}

fn columns(frame: &DataFrame) -> String {
    frame.get_column_names().iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

#[test]
fn frames_have_exactly_the_promised_columns() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let cells = support::write(dir.path(), &Shape::small());
    let analysis = analysis::run(dir.path()).expect("a complete experiment");
    assert_eq!(analysis.unfinished, 1);
    assert_eq!(analysis.done + analysis.failed, cells.len());
    let expected = [
        (
            "trials",
            "trial_id, cell_id, experiment, model, strategy, strategy_params, label, importance, importance_source, schedule, sites, \
             keep_ratio, flops_reduction_nominal, flops_reduction_achieved, flops_executed, protocol, task, seed, \
             split, limit, n, metric, primary, value, stderr, ci_low, ci_high, baseline_value, diff, diff_ci_low, diff_ci_high, \
             p_value, coverage, tokens_in, tokens_per_s, peak_mem_bytes, wall_s, device, dtype, status, error",
        ),
        (
            "items",
            "trial_id, cell_id, task, item_id, gold, predicted, correct, loglikelihoods, greedy, tokens_in, tokens_kept, \
             necessary_kept, coverage, length, depth",
        ),
        (
            "trial_axes",
            "trial_id, label, is_baseline, model, strategy, strategy_params, importance, importance_source, schedule, \
             keep_ratio, flops_reduction_nominal, flops_reduction_asked, protocol, seed, split, limit, device, dtype",
        ),
        ("plans", "trial_id, cell_id, task, item_id, site, kept, dropped, merged, merged_into"),
        (
            "sites",
            "trial_id, cell_id, task, site, tokens_in, tokens_out, keep_ratio_achieved, overlap, merged_similarity",
        ),
        ("overlaps", "trial_id, other_trial_id, task, site, jaccard, expected_by_chance"),
        ("item_metrics", "trial_id, cell_id, task, item_id, metric, primary, value, weight"),
    ];
    for (name, promised) in expected {
        let frame = parquet(&dir.path().join(format!("{name}.parquet")));
        assert_eq!(columns(&frame), promised, "{name}");
        assert!(frame.height() > 0, "{name} is empty");
    }
    let items = parquet(&dir.path().join("items.parquet"));
    assert_eq!(items.column("loglikelihoods").expect("a column").dtype(), &DataType::List(Box::new(DataType::Float64)));
    assert_eq!(items.column("greedy").expect("a column").dtype(), &DataType::List(Box::new(DataType::Boolean)));
    let csv = fs::read_to_string(dir.path().join("trials.csv")).expect("the CSV twin");
    assert_eq!(csv.lines().next().map(|line| line.replace(',', ", ")).as_deref(), Some(expected[0].1));
}

#[test]
fn a_failed_cell_is_a_row_with_its_error() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &Shape::small());
    let analysis = analysis::run(dir.path()).expect("a complete experiment");
    assert!(analysis.failed > 0);
    let frame = parquet(&dir.path().join("trials.parquet"));
    let status = frame.column("status").expect("status").str().expect("text").clone();
    let failed: Vec<usize> = (0..frame.height()).filter(|&row| status.get(row) == Some("failed")).collect();
    assert_eq!(failed.len(), analysis.failed);
    for row in failed {
        let error = frame.column("error").expect("error").str().expect("text").get(row).map(str::to_owned);
        assert_eq!(error.as_deref(), Some("index 37 is out of range for the rows kept"));
        for name in ["metric", "value", "n", "diff", "p_value", "coverage"] {
            assert!(frame.column(name).expect(name).get(row).expect(name).is_null(), "{name}");
        }
    }
}

#[test]
fn known_effects_come_out() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let cells = support::write(dir.path(), &Shape::small());
    analysis::run(dir.path()).expect("a complete experiment");
    let frame = parquet(&dir.path().join("trials.parquet"));
    let number = |name: &str, row: usize| frame.column(name).expect(name).f64().expect(name).get(row);
    let text = |name: &str, row: usize| frame.column(name).expect(name).str().expect(name).get(row).map(str::to_owned);
    let done = cells.iter().find(|cell| cell.trial.strategy == "utrc").expect("a cell of utrc");
    let row = (0..frame.height())
        .find(|&row| text("trial_id", row).as_deref() == Some(done.trial.trial_id.as_str()))
        .expect("its row");
    let right = done.items.iter().filter(|item| item.correct == Some(true)).count() as f64;
    let value = number("value", row).expect("a value");
    assert!((value - right / done.items.len() as f64).abs() < 1e-12);
    assert!(
        (number("diff", row).expect("diff") - (value - number("baseline_value", row).expect("base"))).abs() < 1e-12
    );
    assert!(number("ci_low", row).expect("low") < value && value < number("ci_high", row).expect("high"));
    // The baseline is not compared to itself.
    assert_eq!(text("strategy", 0).as_deref(), Some("dense"));
    assert!(number("diff", 0).is_none() && number("baseline_value", 0).is_some());
}

#[test]
fn two_runs_write_the_same_bytes() {
    let run = || {
        let dir = tempfile::tempdir().expect("a temporary folder");
        support::write(dir.path(), &Shape::small());
        let analysis = analysis::run(dir.path()).expect("a complete experiment");
        analysis.files.iter().map(|file| fs::read(file).expect("written")).collect::<Vec<_>>()
    };
    assert!(run() == run());
}

#[test]
fn a_folder_without_a_plan_is_refused_with_a_hint() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let error = analysis::run(dir.path()).expect_err("nothing to read");
    assert!(error.to_string().contains("plan.json"));
    assert!(error.hint().is_some_and(|hint| hint.starts_with("point to a folder")));
}

/// Items are joined by id: a record in which an id stands twice would be paired with whichever comes last.
#[test]
fn what_stands_twice_in_a_record_is_refused() {
    let refusal = |edit: &dyn Fn(&mut serde_json::Value)| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let cells = support::write(dir.path(), &Shape::small());
        let cell = cells.iter().find(|cell| cell.trial.strategy == "utrc" && !cell.plans.is_empty()).expect("a cell");
        let path = dir.path().join("cells").join(format!("{}.json", cell.cell_id));
        let mut record = serde_json::from_slice(&fs::read(&path).expect("written")).expect("JSON");
        edit(&mut record);
        fs::write(&path, record.to_string()).expect("writable");
        let error = analysis::run(dir.path()).expect_err("nothing can be paired");
        assert!(error.hint().is_some());
        error.to_string().replace(&cell.cell_id, "CELL")
    };
    let twice = |list: &'static str| {
        move |record: &mut serde_json::Value| {
            let first = record[list][0].clone();
            record[list].as_array_mut().expect("a list").push(first);
        }
    };
    let items = refusal(&|record| record["items"][1]["item_id"] = record["items"][0]["item_id"].clone());
    assert!(items.contains("CELL.json is damaged: two of its items have the id `"), "{items}");
    let plans = refusal(&twice("plans"));
    assert!(plans.contains("CELL.json is damaged: item 0 has two plans at layer "), "{plans}");
    let tokens = refusal(&twice("plan_items"));
    assert!(tokens.contains("CELL.json is damaged: the tokens of item 0 are in it twice"), "{tokens}");
}
