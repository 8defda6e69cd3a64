//! Reductions that are asked for as achieved: what the records hold is what was asked for, on every task.

use std::fs;

use crate::desk::{self, Desk, text};
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
                let line = format!("keep_ratio {}", record.trial.keep_ratio.unwrap());
                assert!(table.contains(&line), "{line}: {table}");
                ratios.push((record.task.clone(), record.trial.keep_ratio.unwrap().to_bits()));
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

const CALIBRATED: &str = "\
name: tiny
models: [builtin:mamba2-world]
tasks: [world_lambada, world_hellaswag]
protocols: [context]
strategies: [dense, drop_prefix, top_p, { ltmp_thresholds: { merge_above: 0.999 } }]
schedule:
  - { sites: paper, flops_reduction: { achieved: 0.15 } }
  - { sites: paper, calibrate: { achieved: 0.15 } }
split: held_out
limit: 24
";

#[test]
fn a_threshold_is_found_on_tune_before_the_run_and_recorded() {
    let desk = Desk::new(CALIBRATED);
    let planned = text(&desk.sweep(&["plan", "tiny.yaml"]).stdout);
    assert!(planned.contains("p is found when run") && planned.contains("measured when run"), "{planned}");
    let said = desk.run("out");
    assert!(said.contains("items of `tune`") && said.contains("8 cells run"), "{said}");
    let records = records(&desk);
    let mut thresholds = Vec::new();
    for record in &records {
        let Some(found) = &record.trial.calibration else {
            assert!(["dense", "drop_prefix"].contains(&record.trial.strategy.as_str()));
            continue;
        };
        assert!((found.achieved - 0.15).abs() <= 0.005 && found.items == 24, "{found:?}");
        assert_eq!((record.trial.keep_ratio, record.trial.flops_reduction_nominal), (None, None));
        // Measured on other items: near, and not the same.
        let achieved = record.cost.flops_reduction_achieved;
        assert!((achieved - 0.15).abs() < 0.05, "{} on {}: {achieved}", record.trial.strategy, record.task);
        // What was kept is in the records, site by site and item by item; counts differ from item to item.
        assert!(record.sites.iter().all(|site| site.tokens_out < site.tokens_in));
        let shares: Vec<u64> =
            record.items.iter().map(|item| (1000 * item.tokens_kept).checked_div(item.tokens_in).unwrap()).collect();
        assert!(shares.iter().any(|share| *share != shares[0]));
        thresholds.push(found.value.to_bits());
    }
    thresholds.sort_unstable();
    thresholds.dedup();
    assert!(thresholds.len() > 2, "one for each rule and task: {thresholds:?}");
    // Arms that were asked for the same are compared, whatever found their counts.
    let read = |name: &str| fs::read_to_string(desk.path("out").join(name)).unwrap();
    let main = read("tables/main_mamba2-world_context.md");
    assert_eq!(main.matches("| 15.0 achieved |").count(), 3, "{main}");
    let trials = desk::parquet(&desk.path("out/trials.parquet"));
    let calibrated = trials.column("calibrated_option").unwrap();
    assert_eq!(calibrated.len() - calibrated.null_count(), trials.column("keep_ratio").unwrap().null_count());
    // Found once; and found again from nothing, the same.
    assert!(desk.run("out").contains("0 cells run, 8 already there"));
    fs::remove_dir_all(desk.path("out/calibrations")).unwrap();
    let again = desk.run("out");
    assert!(again.contains("items of `tune`") && again.contains("0 cells run, 8 already there"), "{again}");
    // One by one, the cells are the same.
    let alone = desk.sweep(&["run", "tiny.yaml", "--out", "alone", "--no-sharing"]);
    assert!(alone.status.success(), "{}", text(&alone.stderr));
    assert_eq!(desk.frames("out"), desk.frames("alone"));
}

#[test]
fn a_reduction_that_no_threshold_achieves_is_refused_with_what_is_in_reach() {
    let desk = Desk::new(
        &CALIBRATED.replace("calibrate: { achieved: 0.15 }", "calibrate: { achieved: 0.02 }").replace("0.999", "0.5"),
    );
    let output = desk.sweep(&["run", "tiny.yaml", "--out", "out"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let stderr = stderr.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    assert!(stderr.contains("`prune_below` from 0 to 10 achieves") && stderr.contains("items of `tune`"), "{stderr}");
    assert!(stderr.contains("2 % for") && !stderr.contains("`p` from"), "top_p reaches it: {stderr}");
    assert!(desk.cells("out").is_empty(), "nothing was run");
}

#[test]
fn a_free_count_without_a_target_is_measured() {
    let free = "schedule:\n  - { sites: paper, flops_reduction: 0.15 }\n  - { sites: paper }\n";
    let calibrated = "schedule:\n  - { sites: paper, flops_reduction: { achieved: 0.15 } }\n  - { sites: paper, calibrate: { achieved: 0.15 } }\n";
    let desk = Desk::new(&CALIBRATED.replace(calibrated, free).replace("limit: 24", "limit: 6"));
    assert!(!desk.run("out").contains("tune"));
    let free: Vec<_> = records(&desk).into_iter().filter(|record| record.trial.keep_ratio.is_none()).collect();
    assert_eq!(free.len(), 4);
    for record in &free {
        let achieved = record.cost.flops_reduction_achieved;
        assert!(achieved > 0.0 && achieved < 1.0 && record.trial.flops_reduction_asked.is_none());
    }
    let read = |name: &str| fs::read_to_string(desk.path("out").join(name)).unwrap();
    let main = read("tables/main_mamba2-world_context.md");
    assert_eq!((main.matches("| free |").count(), main.matches("| 15.0 nominal |").count()), (2, 1), "{main}");
    assert!(read("tables/effects_free.md").contains("`top_p`"), "{}", read("tables/effects_free.md"));
    let page = read("report.md");
    assert!(!page.contains("NaN") && page.contains("| free |") && page.contains("at free counts"), "{page}");
}
