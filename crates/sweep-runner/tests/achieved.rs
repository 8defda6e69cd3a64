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
    // One row per strategy, over both tasks, though their keep ratios differ.
    let read = |name: &str| fs::read_to_string(desk.path("out").join(name)).unwrap();
    let main = read("tables/main_mamba2-world_context.md");
    assert!(main.contains("| reduction asked for % | strategy | achieved % |"), "{main}");
    assert_eq!(main.matches("| 20.0 achieved |").count(), 3, "{main}");
    assert!(!main.contains('†') && !main.contains("Missing"), "{main}");
    assert!(read("tables/effects_20_achieved.md").contains("`utrc`"));
    let page = read("report.md");
    assert!(page.contains("| reduction asked for % |") && page.contains("| 20.0 achieved |"), "{page}");
    let svg = read("figures/differences_mamba2-world_context.svg");
    assert!(svg.contains("20 % achieved") && !svg.contains("not run"), "{svg}");
    let compared = desk.sweep(&["compare", "out", "--a", "drop_prefix", "--b", "utrc"]);
    let compared = text(&compared.stdout);
    assert!(compared.contains("20.0 % achieved FLOPs reduction") && compared.contains("mean over"), "{compared}");
    assert!(compared.contains("world_lambada") && compared.contains("world_hellaswag"), "{compared}");
    let trials = desk::parquet(&desk.path("out/trials.parquet"));
    assert_eq!(trials.column("flops_reduction_asked").unwrap().null_count(), dense_rows(&trials));
    // What is on disk is what is asked for again.
    assert!(desk.run("out").contains("0 cells run, 10 already there"));
}

fn dense_rows(trials: &polars::prelude::DataFrame) -> usize {
    trials.column("strategy").unwrap().str().unwrap().iter().filter(|name| *name == Some("dense")).count()
}

#[test]
fn a_nominal_and_an_achieved_reduction_of_one_size_are_apart() {
    let both = "[{ sites: paper, flops_reduction: 0.2 }, { sites: paper, flops_reduction: { achieved: 0.2 } }]";
    let one = "{ sites: paper, flops_reduction: { achieved: 0.2 } }";
    let desk = Desk::new(&ACHIEVED.replace(one, both).replace("limit: 20", "limit: 6"));
    desk.run("out");
    let main = fs::read_to_string(desk.path("out/tables/main_mamba2-world_context.md")).unwrap();
    let count = |word: &str| main.matches(&format!("| 20.0 {word} |")).count();
    assert_eq!((count("nominal"), count("achieved")), (3, 3), "{main}");
    // The resolved file asks for the same again.
    assert!(text(&desk.sweep(&["retry", "--failed", "out"]).stderr).contains("0 cells run, 18 already there"));
}
