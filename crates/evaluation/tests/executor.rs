//! The sharing executor against cells run alone: the same bits for every registered strategy.

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;

use common::{model, reduction, task};
use evaluation::executor::{CellRequest, Event, ExecutorSettings, Sharing, evaluate_cells};
use evaluation::tasks::{Task, TaskKind};
use evaluation::{Evaluation, EvaluationError, Protocol, Reduction, Settings, Setup, evaluate};
use reduction_strategies::registry;
use ssm_model::MambaLm;

const PLANS: usize = 2;

fn settings(max_tokens: usize, workers: usize) -> ExecutorSettings {
    ExecutorSettings { max_tokens, recorded_plans: PLANS, memory_bytes: 1 << 30, workers }
}

type Results = Vec<Result<Evaluation, Arc<EvaluationError>>>;

fn shared(model: &MambaLm, cells: &[CellRequest<'_>], settings: ExecutorSettings) -> (Results, Sharing) {
    let mut results: Vec<_> = cells.iter().map(|_| None).collect();
    let mut last = (0, 0);
    let sharing = evaluate_cells(model, cells, settings, &mut |event| {
        match event {
            Event::Done(outcome) => results[outcome.cell] = Some(outcome.result),
            Event::Progress { done, total } => last = (done, total),
        }
        ControlFlow::Continue(())
    });
    assert_eq!(last.0, last.1, "progress ends at the end");
    (results.into_iter().map(Option::unwrap).collect(), sharing.unwrap())
}

fn alone(model: &MambaLm, cell: &CellRequest<'_>) -> Evaluation {
    let settings = Settings { recorded_plans: PLANS, ..Settings::default() };
    let CellRequest { kind, items, protocol, reduction } = cell;
    let setup = Setup { model, kind: *kind, items, protocol: *protocol, reduction };
    evaluate(&setup, settings).unwrap()
}

/// Every log-likelihood and log-probability bit for bit, and all that records are made of.
fn assert_same(place: &str, shared: &Evaluation, alone: &Evaluation) {
    assert_eq!(shared.items.len(), alone.items.len(), "{place}");
    for (index, (a, b)) in shared.items.iter().zip(&alone.items).enumerate() {
        assert_eq!(a, b, "{place}: item {index}");
        for (a, b) in a.choices.iter().zip(&b.choices) {
            assert_eq!(a.loglikelihood.to_bits(), b.loglikelihood.to_bits(), "{place}: item {index}");
            for (a, b) in a.tokens.iter().zip(&b.tokens) {
                assert_eq!(a.log_prob.to_bits(), b.log_prob.to_bits(), "{place}: item {index}");
            }
        }
    }
    assert_eq!(shared.sites.len(), alone.sites.len(), "{place}");
    for (a, b) in shared.sites.iter().zip(&alone.sites) {
        assert_eq!(a, b, "{place}");
        assert_eq!(a.merged_similarity.map(f64::to_bits), b.merged_similarity.map(f64::to_bits), "{place}");
    }
    assert_eq!(shared.plans, alone.plans, "{place}");
    assert_eq!(shared.work, alone.work, "{place}");
}

fn grid<'a>(tasks: &'a [Task], ratios: &[f64]) -> Vec<CellRequest<'a>> {
    let mut cells = Vec::new();
    for protocol in [Protocol::Context, Protocol::Aligned, Protocol::Upstream { batch_size: 5 }] {
        for strategy in registry::all() {
            for ratio in ratios {
                for task in tasks {
                    let mut reduction = reduction(strategy.name, &[], *ratio);
                    let dense = strategy.name == "dense";
                    if dense {
                        reduction = Reduction::dense();
                    }
                    // Refused by the plan: later tokens would decide which earlier ones stay.
                    if task.kind == TaskKind::RunningText && protocol == Protocol::Aligned && !dense {
                        continue;
                    }
                    cells.push(CellRequest { kind: task.kind, items: &task.items, protocol, reduction });
                }
            }
        }
    }
    cells
}

fn compare(name: &str, settings: ExecutorSettings) -> Sharing {
    let model = model(name);
    let mut tasks = vec![task("world_lambada", 3), task("world_hellaswag", 2), task("world_winogrande", 2)];
    let mut text = task("world_text", 1);
    text.items[0].contexts[0].tokens.truncate(150);
    tasks.push(text);
    let cells = grid(&tasks, &[0.97, 0.7]);
    let (results, sharing) = shared(&model, &cells, settings);
    for (cell, result) in cells.iter().zip(results) {
        let place = format!("{name} {:?}", cell.protocol);
        assert_same(&format!("{place} {:?}", cell.reduction), &result.unwrap(), &alone(&model, cell));
    }
    assert!(sharing.token_layers_executed < sharing.token_layers_asked * 3 / 4, "{sharing:?}");
    sharing
}

#[test]
fn a_grid_has_the_bits_of_its_cells_run_alone() {
    compare("mamba2-world", settings(512, 2));
}

#[test]
fn small_calls_and_one_worker_change_nothing() {
    let sharing = compare("mamba-world", settings(1, 1));
    let longest = 150;
    // Arriving activations wait at each of the three sites at most.
    assert!(sharing.peak_rows <= longest * (1 + common::SITES.len()), "{sharing:?}");
}
