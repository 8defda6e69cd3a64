//! What was repeated for its time.

use std::collections::BTreeSet;
use std::fs;

use analysis::Basis;

use crate::support::{self, Shape};

/// Time is an axis where every cell was repeated for it, and nowhere else.
#[test]
fn what_was_timed_is_drawn_against_time() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &Shape::full());
    let drawn = || {
        let study = analysis::study(dir.path()).expect("a complete experiment");
        (study.basis, report::draw(&study).expect("families are known").figures)
    };
    let (basis, figures) = drawn();
    assert_eq!(basis, Basis::Flops);
    assert!(figures.iter().all(|figure| !figure.name.contains("_vs_time_")));
    for entry in fs::read_dir(dir.path().join("cells")).expect("cells") {
        let path = entry.expect("a cell").path();
        let mut cell: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("a cell")).expect("JSON");
        let kept = 1.0 - cell["cost"]["flops_reduction_achieved"].as_f64().expect("a share");
        cell["cost"]["wall_s"] = kept.into();
        cell["cost"]["repeats_s"] = serde_json::json!([kept, 0.9 * kept, 1.2 * kept]);
        fs::write(&path, cell.to_string()).expect("a cell");
    }
    let (basis, figures) = drawn();
    assert_eq!(basis, Basis::Time, "every cell was timed");
    let figure = figures.iter().find(|figure| figure.name == "accuracy_vs_time_mamba2-world_context");
    let figure = figure.expect("accuracies were timed");
    assert!(figure.caption.contains("medians of 3 repeats; the fastest and the slowest differ by at most 30 %"));
    assert!(figure.caption.contains("Other models are shown without a rule."));
    assert!(figure.svg.contains("mamba-world (dense)"));
    let rows: Vec<Vec<&str>> = figure.csv.lines().map(|line| line.split(',').collect()).collect();
    let column = |name: &str| rows[0].iter().position(|head| *head == name).expect("a column");
    let value = |row: &[&str], name: &str| row[column(name)].parse::<f64>().expect("a number");
    assert!(rows.len() > 10);
    for row in &rows[1..] {
        let (ms, n) = (value(row, "ms_per_item"), value(row, "n"));
        let kept = 1.0 - value(row, "flops_reduction_achieved");
        assert!((ms - 1_000.0 * kept / n).abs() < 1e-3, "{row:?}");
        assert!((value(row, "ms_slowest") / value(row, "ms_fastest") - 4.0 / 3.0).abs() < 1e-3, "{row:?}");
        assert_eq!(row[column("repeats")], "3");
        assert!(row[column("series")] != "dense" || value(row, "diff") == 0.0);
    }
    let dense = |model: &str| rows.iter().filter(|row| row[0].ends_with(model) && row[2] == "dense").count();
    let tasks = rows[1..].iter().map(|row| row[3]).collect::<BTreeSet<_>>().len();
    assert_eq!(dense("mamba2-world"), tasks, "the start of all curves is written once a task");
}
