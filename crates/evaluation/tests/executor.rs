//! The sharing executor against cells run alone: the same bits for every registered strategy.

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;

use common::{model, reduction, task};
use evaluation::executor::{CellRequest, Event, ExecutorSettings, Sharing, evaluate_cells};
use evaluation::tasks::{Task, TaskKind};
use evaluation::{Evaluation, EvaluationError, Protocol, Reduction, Settings, Setup, evaluate};
use reduction_strategies::{Causality, HostRule, Plan, PlanError, Rule, SequenceView, registry};
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
    for protocol in [Protocol::Context, Protocol::Aligned, Protocol::Causal, Protocol::Upstream { batch_size: 5 }] {
        for strategy in registry::all() {
            for ratio in ratios {
                for task in tasks {
                    let mut reduction = reduction(strategy.name, &[], *ratio);
                    let dense = strategy.name == "dense";
                    if dense {
                        reduction = Reduction::dense();
                    }
                    if protocol == Protocol::Causal && reduction.rule.causality() == Causality::None {
                        continue;
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

fn compare(name: &str, ratios: &[f64], settings: ExecutorSettings) -> Sharing {
    let model = model(name);
    let mut tasks = vec![task("world_lambada", 2), task("world_hellaswag", 1), task("world_winogrande", 1)];
    let mut text = task("world_text", 1);
    text.items[0].contexts[0].tokens.truncate(150);
    tasks.push(text);
    let cells = grid(&tasks, ratios);
    let (results, sharing) = shared(&model, &cells, settings);
    for (cell, result) in cells.iter().zip(results) {
        let place = format!("{name} {:?}", cell.protocol);
        assert_same(&format!("{place} {:?}", cell.reduction), &result.unwrap(), &alone(&model, cell));
    }
    assert!(sharing.token_layers_executed < sharing.token_layers_asked * 9 / 10, "{sharing:?}");
    sharing
}

#[test]
fn a_grid_has_the_bits_of_its_cells_run_alone() {
    compare("mamba2-world", &[0.97, 0.9, 0.7], settings(512, 2));
}

#[test]
fn small_calls_and_one_worker_change_nothing() {
    let sharing = compare("mamba-world", &[0.8], settings(1, 1));
    let longest = 150;
    // Arriving activations wait at each of the three sites at most.
    assert!(sharing.peak_rows <= longest * (1 + common::SITES.len()), "{sharing:?}");
}

/// Prunes from the front, except in item 1, where it fails.
#[derive(Debug)]
struct FailsOnItemOne;

impl HostRule for FailsOnItemOne {
    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        if view.draw.item == 1 {
            return Err(PlanError::MissingSignal("nothing"));
        }
        let mut keep = view.reducible();
        keep.drain(..keep.len() - n_keep);
        keep.extend((0..view.len() as u32).filter(|row| view.protected[*row as usize]));
        keep.sort_unstable();
        Plan::prune(view.len(), keep)
    }
}

#[test]
fn a_failing_rule_hurts_no_other_cell() {
    let model = model("mamba2-world");
    let tasks = [task("world_lambada", 3)];
    let mut cells = grid(&tasks, &[0.7]);
    cells.retain(|cell| cell.protocol == Protocol::Context);
    let rule = Rule::Host(Arc::new(FailsOnItemOne));
    let failing = Reduction { rule, ..reduction("random", &[], 0.7) };
    cells.insert(1, CellRequest { reduction: failing, ..cells[0].clone() });
    let (results, _) = shared(&model, &cells, settings(512, 2));
    for (index, (cell, result)) in cells.iter().zip(results).enumerate() {
        match result {
            Ok(evaluation) if index != 1 => assert_same("beside a failing cell", &evaluation, &alone(&model, cell)),
            Err(error) if index == 1 => assert!(matches!(*error, EvaluationError::Plan(_)), "{error}"),
            other => panic!("cell {index}: {other:?}"),
        }
    }
}

/// Two tasks with the same items: their documents run once, but a rule that draws plans for each item by itself.
#[test]
fn equal_documents_run_once() {
    let model = model("mamba2-world");
    let first = task("world_winogrande", 3);
    let mut second = first.clone();
    second.items.reverse();
    for strategy in ["dense", "tome", "random"] {
        let cells = [&first, &second].map(|task| {
            let reduction = reduction(strategy, &[], 0.7);
            CellRequest { kind: task.kind, items: &task.items, protocol: Protocol::Context, reduction }
        });
        let (results, sharing) = shared(&model, &cells, settings(512, 1));
        for (cell, result) in cells.iter().zip(results) {
            assert_same(strategy, &result.unwrap(), &alone(&model, cell));
        }
        let half = sharing.token_layers_executed * 2 == sharing.token_layers_asked;
        assert_eq!(half, strategy != "random", "{strategy}: {sharing:?}");
        assert!(sharing.token_layers_executed < sharing.token_layers_asked, "{strategy}: {sharing:?}");
    }
}

#[test]
fn a_document_beyond_the_memory_fails_with_a_hint() {
    let model = model("mamba2-world");
    let tasks = [task("world_lambada", 1)];
    let cells = grid(&tasks, &[0.7]);
    let tight = ExecutorSettings { memory_bytes: 4_600_000, ..settings(512, 1) };
    let (results, sharing) = shared(&model, &cells, tight);
    for result in results {
        let error = result.unwrap_err();
        assert!(matches!(*error, EvaluationError::Memory { .. }) && error.hint().is_some(), "{error}");
    }
    assert_eq!(sharing.token_layers_executed, 0);
}

#[test]
fn breaking_off_leaves_the_rest_out() {
    let model = model("mamba2-world");
    let tasks = [task("world_lambada", 2), task("world_piqa", 2)];
    let cells = grid(&tasks, &[0.7]);
    let mut ended = 0;
    evaluate_cells(&model, &cells, settings(64, 2), &mut |event| match event {
        Event::Done(_) => {
            ended += 1;
            ControlFlow::Break(())
        }
        Event::Progress { .. } => ControlFlow::Continue(()),
    })
    .unwrap();
    assert_eq!(ended, 1);
}

#[test]
fn a_rule_that_looks_ahead_is_refused_under_the_causal_protocol() {
    let model = model("mamba2-world");
    let tasks = [task("world_lambada", 2)];
    let cell = |strategy| CellRequest {
        kind: tasks[0].kind,
        items: &tasks[0].items,
        protocol: Protocol::Causal,
        reduction: reduction(strategy, &[], 0.7),
    };
    let (results, _) = shared(&model, &[cell("top_k"), cell("block_causal")], settings(512, 1));
    assert!(matches!(**results[0].as_ref().unwrap_err(), EvaluationError::NotCausal));
    assert!(results[1].is_ok());
}
