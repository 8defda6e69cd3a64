//! Reductions that are asked for as achieved: what the records hold is what was asked for, on every task.

mod desk;

use std::fs;

use desk::{Desk, text};
use records::schema::CellRecord;

const ACHIEVED: &str = "\
name: tiny
models: [builtin:mamba2-world]
tasks: [world_lambada, world_hellaswag]
protocols: [context]
strategies: [dense, { random: { seeds: [0, 1] } }, drop_prefix, utrc]
schedule: { sites: paper, flops_reduction: { achieved: 0.2 } }
limit: 20
";

fn records(desk: &Desk) -> Vec<CellRecord> {
    let read = |path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    desk.cells("out").into_iter().map(read).collect()
}

#[test]
fn every_cell_achieves_what_was_asked_for() {
    let desk = Desk::new(ACHIEVED);
    let plan = desk.sweep(&["plan", "tiny.yaml"]);
    let table = text(&plan.stdout);
    assert!(table.contains("achieved 0.2") && table.contains("solved from the lengths"), "{table}");
    desk.run("out");
    let records = records(&desk);
    assert_eq!(records.len(), 2 * 5);
    let mut ratios = Vec::new();
    for record in &records {
        let achieved = record.cost.flops_reduction_achieved;
        match record.trial.flops_reduction_asked {
            None => assert!(record.trial.strategy == "dense" && achieved.abs() < 1e-12),
            Some(asked) => {
                let what = format!("{} on {}: {achieved}", record.trial.strategy, record.task);
                assert!((asked - 0.2).abs() < 1e-12 && (achieved - 0.2).abs() <= 0.005, "{what}");
                let line = format!("keep_ratio {}", record.trial.keep_ratio);
                assert!(table.contains(&line), "{line}: {table}");
                ratios.push((record.task.clone(), record.trial.keep_ratio.to_bits()));
            }
        }
    }
    ratios.sort();
    ratios.dedup();
    assert_eq!(ratios.len(), 2, "one ratio per task: {ratios:?}");
    // What is on disk is what is asked for again.
    assert!(desk.run("out").contains("0 cells run, 10 already there"));
}
