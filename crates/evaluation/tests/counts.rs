//! What counts predict is what runs: every protocol, every registered strategy that a model can serve and whose count is known before it runs.

mod common;

use common::grid::{grid, layouts, settings, shared};
use common::{model, task};
use evaluation::tasks::Task;

fn tasks() -> Vec<Task> {
    let mut tasks = vec![task("world_lambada", 3), task("world_hellaswag", 2), task("world_winogrande", 2)];
    let mut text = task("world_text", 1);
    text.items[0].contexts[0].tokens.truncate(150);
    tasks.push(text);
    tasks
}

fn compare(name: &str, ratios: &[f64]) {
    let (model, tasks) = (model(name), tasks());
    let n_layer = model.config().n_layer();
    let mut cells = grid(&model, &tasks, ratios);
    cells.retain(|cell| !cell.reduction.rule.count().is_free());
    let (layouts, of) = layouts(&cells);
    let (results, _) = shared(&model, &cells, settings(512, 2));
    let mut reduced = 0;
    for ((cell, layout), result) in cells.iter().zip(of).zip(results) {
        let reduction = &cell.reduction;
        let executed = result.unwrap().work;
        let predicted =
            layouts[layout].shapes().counts(n_layer, &reduction.sites, &reduction.rule, reduction.keep_ratio);
        assert_eq!(predicted, executed.counts(), "{name} {:?} {reduction:?}", cell.scoring);
        reduced += usize::from(executed.flops_reduction(n_layer) > 0.0);
    }
    assert!(reduced > cells.len() / 2, "{reduced} of {}", cells.len());
}

#[test]
fn a_recurrence_runs_what_counts_predict() {
    compare("mamba2-world", &[0.97, 0.7]);
}

#[test]
fn a_transformer_runs_what_counts_predict() {
    compare("neox-world", &[0.8]);
}
