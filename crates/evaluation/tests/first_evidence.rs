//! The effect of a few rules on `world_lambada`, against an independent implementation in `PyTorch`.
//!
//! It ran 200 items in float32, sites 4, 8 and 12 with one keep ratio, pruning context tokens only. It counts the protected
//! last token among those that a ratio applies to (`ceil(k (n + 1)) - 1` of `n` others stay, here `ceil(k n)`), so that up
//! to one token per site differs: an item or two may flip where few tokens decide, more on Mamba, which is more sensitive.

mod common;

use common::{model, reduction, setup, task};
use evaluation::metrics::metrics;
use evaluation::protocol::CONTEXT;
use evaluation::tasks::Task;
use evaluation::{Reduction, Settings, evaluate};
use ssm_model::LanguageModel;

const CLIP: [(&str, &str); 2] = [("importance", "clip"), ("source", "block_output")];

fn accuracy(model: &LanguageModel, task: &Task, reduction: &Reduction) -> f64 {
    let scores = evaluate(&setup(model, task, CONTEXT.defaults(), reduction), Settings::default()).unwrap();
    100.0 * metrics(task.kind, &task.items, &scores.items)[0].value().unwrap()
}

/// A strategy with its options, and the accuracies at 10 % and 20 % reduction.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], [f64; 2]);

fn lands(name: &str, dense: f64, rows: &[Row<'_>], tolerance: f64) {
    let (model, task) = (model(name), task("world_lambada", 200));
    assert_eq!(task.items.len(), 200);
    let got = accuracy(&model, &task, &Reduction::dense());
    assert!((got - dense).abs() < 1e-9, "dense: {got} instead of {dense}");
    let mut off = Vec::new();
    for (strategy, options, accuracies) in rows {
        for (keep_ratio, want) in [0.920, 0.831].into_iter().zip(accuracies) {
            let got = accuracy(&model, &task, &reduction(strategy, options, keep_ratio));
            if (got - want).abs() > tolerance {
                off.push(format!("{strategy} at {keep_ratio}: {got} instead of {want}"));
            }
        }
    }
    assert!(off.is_empty(), "{name}: {off:#?}");
}

#[test]
fn mamba2_loses_what_was_measured_before() {
    let rows: [Row<'_>; 3] =
        [("top_k", &CLIP, [89.0, 85.0]), ("inverted_top_k", &CLIP, [98.5, 98.5]), ("drop_prefix", &[], [80.0, 74.0])];
    lands("mamba2-world", 99.0, &rows, 2.5);
}

#[test]
fn mamba_loses_what_was_measured_before() {
    let rows: [Row<'_>; 3] =
        [("top_k", &CLIP, [51.0, 38.0]), ("inverted_top_k", &CLIP, [73.5, 41.5]), ("drop_prefix", &[], [40.5, 23.5])];
    lands("mamba-world", 96.0, &rows, 4.0);
}
