//! Probes from the command line: planned, run, resumed, drawn; alone and beside strategies.

use std::fs;
use std::path::PathBuf;

use polars::prelude::*;

use crate::desk::{Desk, parquet, text};

const ALONE: &str = "\
name: tiny
models: [builtin:mamba2-world]
tasks: [world_lambada]
probes:
  - similarity: { items: 3, every: 5 }
  - position: { items: 3, places: 3 }
limit: 3
";

const BESIDE: &str = "\
name: tiny
models: [builtin:mamba-world]
tasks: [world_lambada]
strategies: [dense, top_k]
schedule: { sites: [4, 8], keep_ratio: 0.7 }
probes: [leak, kept_tokens, loss_split]
limit: 2
";

impl Desk {
    fn frame(&self, name: &str) -> DataFrame {
        parquet(&self.path("out").join(name))
    }
}

fn names(frame: &DataFrame) -> Vec<String> {
    frame.get_column_names().iter().map(ToString::to_string).collect()
}

#[test]
fn probes_alone_run_resume_and_are_drawn() {
    let desk = Desk::new(ALONE);
    let plan = text(&desk.sweep(&["plan", "tiny.yaml"]).stdout);
    assert!(plan.contains("2 probe cells") && plan.contains("similarity every=5 items=3"), "{plan}");
    assert!(desk.run("out").contains("2 probes run, 0 already there, 0 failed"));
    let frame = desk.frame("probe_similarity.parquet");
    let expected =
        ["probe_id", "model", "task", "options", "layer", "source", "measure", "n", "value", "stderr", "ci_low"];
    assert_eq!(names(&frame)[..expected.len()], expected);
    // Layers 0, 5, 10, 15; three tensors; five measures.
    assert_eq!(frame.height(), 60);
    assert_eq!(frame.column("value").unwrap().null_count(), 0);
    for figure in ["probe_similarity.svg", "probe_position.svg", "probe_position.csv"] {
        assert!(desk.path("out/figures").join(figure).is_file(), "{figure}");
    }
    assert!(fs::read_to_string(desk.path("out/report.md")).unwrap().contains("probe_position"));

    // A damaged record and a failed one run again, the other does not.
    let records: Vec<PathBuf> =
        fs::read_dir(desk.path("out/probes")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(records.len(), 2);
    let before = fs::read(&records[0]).unwrap();
    fs::write(&records[0], &before[..before.len() / 2]).unwrap();
    assert!(desk.run("out").contains("1 probes run, 1 already there, 0 failed"));
    let rows = |bytes: &[u8]| {
        let record: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        record["rows"].clone()
    };
    assert_eq!(rows(&before), rows(&fs::read(&records[0]).unwrap()), "the same rows again");
}

#[test]
fn probes_of_strategies_run_beside_them() {
    let desk = Desk::new(BESIDE);
    let stderr = desk.run("out");
    assert!(stderr.contains("2 cells run") && stderr.contains("6 probes run"), "{stderr}");
    let frame = desk.frame("probe_leak.parquet");
    assert!(names(&frame).contains(&"strategy".to_owned()));
    let all = frame.column("distance").unwrap().str().unwrap().equal("all");
    let variation = frame.column("measure").unwrap().str().unwrap().equal("total_variation");
    let rows = frame.filter(&(all & variation)).unwrap();
    let strategies: Vec<_> = rows.column("strategy").unwrap().str().unwrap().iter().flatten().collect();
    assert_eq!(strategies, ["dense", "top_k"]);
    let values: Vec<f64> = rows.column("value").unwrap().f64().unwrap().iter().flatten().collect();
    assert!(values[0].abs() < 1e-12 && values[1] > 0.0, "{values:?}");
}

#[test]
fn probes_are_listed() {
    let desk = Desk::new(ALONE);
    let listed = text(&desk.sweep(&["probes"]).stdout);
    for probe in evaluation::probes::all() {
        assert!(listed.contains(probe.name) && listed.contains(probe.question), "{}", probe.name);
    }
}
