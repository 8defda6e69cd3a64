//! `report` over a fake experiment: files, contents, determinism.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use support::Shape;
use sweep_runner::report;

fn names(files: &[PathBuf], kind: &str) -> BTreeSet<String> {
    files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == kind))
        .filter_map(|file| file.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .collect()
}

/// Writes the full fake experiment where a person can look at the figures: `target/tmp/report`.
#[test]
fn the_full_experiment_has_every_figure() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    let _ = fs::remove_dir_all(&dir);
    support::write(&dir, &Shape::full());
    let summary = report::run(&dir).expect("a complete experiment");
    assert!(summary.failed > 0 && summary.unfinished == 1);
    for file in summary.figures.iter().chain(&summary.tables) {
        assert!(fs::metadata(file).expect("written").len() > 0, "{}", file.display());
    }
    let svg = names(&summary.figures, "svg");
    for expected in [
        "accuracy_vs_flops_mamba2-world_context",
        "accuracy_vs_flops_tasks_mamba-world_upstream",
        "differences_mamba2-world_context",
        "layer_ratio_mamba-world_context",
        "protocol_comparison_30",
        "token_map_world_lambada",
    ] {
        assert!(svg.contains(expected), "{expected} is missing from {svg:?}");
    }
    for kind in ["pdf", "png", "csv"] {
        assert_eq!(names(&summary.figures, kind), svg, "{kind}");
    }
    // Sweeps over single sites were run under one protocol only.
    assert!(!svg.contains("layer_ratio_mamba-world_upstream"));
    let tables = names(&summary.tables, "tex");
    assert!(tables.contains("main_mamba2-world_context") && tables.contains("protocols"));
    assert_eq!(names(&summary.tables, "md"), tables);
}

#[test]
fn the_page_says_what_a_reader_must_know() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-small");
    let _ = fs::remove_dir_all(&dir);
    support::write(&dir, &Shape::small());
    let summary = report::run(&dir).expect("a complete experiment");
    let page = fs::read_to_string(summary.report).expect("the page");
    for needle in [
        "**Question.** How much of the accuracy loss",
        "**LIMITED.**",
        "cells failed",
        "index 37 is out of range for the rows left",
        "1 of",
        "planned cells are not finished",
        "for reproduction only",
        "`random` is the mean of 3 seeds",
        "paired bootstrap over items",
        "(figures/accuracy_vs_flops_mamba2-world_context.svg)",
    ] {
        assert!(page.contains(needle), "`{needle}` is missing");
    }
}

#[test]
fn two_runs_write_the_same_bytes() {
    let run = || {
        let dir = tempfile::tempdir().expect("a temporary folder");
        support::write(dir.path(), &Shape::small());
        let summary = report::run(dir.path()).expect("a complete experiment");
        let files = summary.figures.iter().chain(&summary.tables).chain(&summary.frames).chain([&summary.report]);
        files
            .map(|file| {
                let name = file.strip_prefix(dir.path()).expect("inside").to_owned();
                (name, fs::read(file).expect("written"))
            })
            .collect::<Vec<_>>()
    };
    for (first, second) in run().into_iter().zip(run()) {
        assert_eq!(first.0, second.0);
        assert!(first.1 == second.1, "{} differs between two runs", first.0.display());
    }
}

#[test]
fn a_fonts_name_is_in_every_figure_and_no_system_font_is_needed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &Shape::small());
    let summary = report::run(dir.path()).expect("a complete experiment");
    for file in summary.figures.iter().filter(|file| file.extension().is_some_and(|e| e == "svg")) {
        let svg = fs::read_to_string(file).expect("text");
        assert!(svg.contains("font-family=\"DejaVu Sans, Verdana, sans-serif\""));
        assert!(svg.contains("width=\"5.5000in\""));
    }
    for file in summary.figures.iter().filter(|file| file.extension().is_some_and(|e| e == "pdf")) {
        let pdf = fs::read(file).expect("bytes");
        assert!(pdf.starts_with(b"%PDF-") && !pdf.windows(6).any(|window| window == b"/Type3"));
    }
}

#[test]
fn an_unusual_experiment_is_reported_as_far_as_it_goes() {
    // No baseline: nothing to compare, yet tables and a page.
    let mut shape = Shape::small();
    shape.strategies.retain(|strategy| strategy.0 != "dense");
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &shape);
    let summary = report::run(dir.path()).expect("a report without a baseline");
    assert!(fs::read_to_string(summary.report).expect("the page").contains("No finished baseline"));
    // Only a baseline: no figure at all.
    let mut shape = Shape::small();
    shape.strategies.retain(|strategy| strategy.0 == "dense");
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &shape);
    let summary = report::run(dir.path()).expect("a report of the baseline alone");
    assert!(summary.figures.is_empty());
    // Two items of one task.
    let mut shape = Shape::small();
    shape.tasks.truncate(1);
    shape.items = 2;
    let dir = tempfile::tempdir().expect("a temporary folder");
    support::write(dir.path(), &shape);
    report::run(dir.path()).expect("a tiny report");
}

/// Random weights of a published size, the paper's methods and two of its tasks.
#[test]
fn numbers_of_the_paper_stand_beside_ours() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-paper");
    let _ = fs::remove_dir_all(&dir);
    let shape = Shape {
        models: vec!["random:mamba2-2.7b", "builtin:mamba2-world"],
        protocols: vec!["upstream"],
        tasks: vec!["lambada_openai", "hellaswag"],
        strategies: vec![
            ("dense", None, "{}", 0.0),
            ("pumer_released", None, "{}", 1.5),
            ("utrc", Some("clip"), "{}", 0.5),
            ("random", None, "{}", 1.2),
        ],
        reductions: vec![0.1, 0.25],
        single_sites: false,
        ..Shape::small()
    };
    support::write(&dir, &shape);
    let summary = report::run(&dir).expect("a complete experiment");
    let page = fs::read_to_string(summary.report).expect("the page");
    assert!(page.contains("> **RANDOM WEIGHTS.** Never trained: `random:mamba2-2.7b`."));
    assert!(page.contains("### paper\n") && page.contains("*RANDOM WEIGHTS: our numbers prove the path"));
    let text = fs::read_to_string(dir.join("tables/paper.csv")).expect("the table");
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    // Three tasks and metrics each for dense, PuMer and Ours at 10 %; 25 % is none of the paper's, `random` no method of it.
    assert_eq!(rows.len(), 9, "{text}");
    assert!(rows.iter().all(|row| row[0] == "random:mamba2-2.7b"));
    let find =
        |method: &str, task: &str| rows.iter().find(|row| row[2] == method && row[5] == task).expect(task).clone();
    assert_eq!(find("PuMer", "hellaswag (acc_norm)")[3], "pumer_released");
    // Ours, its half-width, the paper's, the difference.
    let row = find("Ours", "lambada_openai (acc)");
    let number = |index: usize| row[index].parse::<f64>().expect("a number");
    assert!((number(9) - 59.0).abs() < 1e-9 && (number(7) - number(9) - number(10)).abs() < 1e-3, "{row:?}");
    assert_eq!(find("dense", "lambada_openai (perplexity)")[9], "4.1000");
    assert!(!dir.join("tables/paper.md").metadata().expect("written").is_dir());
}
