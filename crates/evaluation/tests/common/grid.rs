//! Grids of cells, run by the sharing executor and one by one.

use std::ops::ControlFlow;
use std::sync::Arc;

use evaluation::executor::{CellRequest, Event, ExecutorSettings, Sharing, evaluate_jobs};
use evaluation::tasks::{Task, TaskKind};
use evaluation::{
    Evaluation, EvaluationError, Layout, POSITIONS, Reduction, Scoring, Settings, SignalFrom, evaluate, protocol,
};
use reduction_strategies::{Causality, registry};
use ssm_model::LanguageModel;

use super::{reduction, setup, sites};

pub(crate) const PLANS: usize = 2;

pub(crate) fn settings(max_tokens: usize, workers: usize) -> ExecutorSettings {
    ExecutorSettings { max_tokens, recorded_plans: PLANS, memory_bytes: 1 << 30, workers }
}

pub(crate) type Results = Vec<Result<Evaluation, Arc<EvaluationError>>>;

/// A cell of a grid.
#[derive(Clone)]
pub(crate) struct Cell<'a> {
    pub(crate) task: &'a Task,
    pub(crate) scoring: Scoring,
    pub(crate) reduction: Reduction,
}

/// All layouts of a grid, once each, and which one each cell has.
pub(crate) fn layouts(cells: &[Cell<'_>]) -> (Vec<Layout>, Vec<usize>) {
    let mut known: Vec<(&Task, Scoring)> = Vec::new();
    let mut of = Vec::new();
    for cell in cells {
        let same = |(task, scoring): &(&Task, Scoring)| std::ptr::eq(*task, cell.task) && *scoring == cell.scoring;
        let index = known.iter().position(same).unwrap_or_else(|| {
            known.push((cell.task, cell.scoring));
            known.len() - 1
        });
        of.push(index);
    }
    (known.into_iter().map(|(task, scoring)| Layout::new(task.kind, &task.items, scoring)).collect(), of)
}

/// All cells in one job.
pub(crate) fn shared(model: &LanguageModel, cells: &[Cell<'_>], settings: ExecutorSettings) -> (Results, Sharing) {
    let (layouts, of) = layouts(cells);
    let request = |(cell, layout): (&Cell<'_>, &usize)| {
        let layout = &layouts[*layout];
        CellRequest { layout, span: layout.whole(), reduction: cell.reduction.clone() }
    };
    let mut jobs = vec![cells.iter().zip(&of).map(request).collect::<Vec<_>>()].into_iter();
    let (mut parts, mut last, mut saved) = (Vec::new(), 0.0, Sharing::default());
    evaluate_jobs(model, settings, &mut || jobs.next(), &|| false, &mut |event| {
        match event {
            Event::Done { job, cells, sharing } => {
                assert_eq!(job, 0);
                saved = sharing;
                parts = cells;
            }
            Event::Progress { share, .. } => last = share,
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!((last - 1.0).abs() < 1e-12, "progress ends at the end");
    let results = parts.into_iter().zip(of).map(|(outcome, layout)| {
        let part = outcome.result?;
        Ok(layouts[layout].evaluation([part]))
    });
    (results.collect(), saved)
}

pub(crate) fn alone(model: &LanguageModel, cell: &Cell<'_>) -> Evaluation {
    let settings = Settings { recorded_plans: PLANS, ..Settings::default() };
    evaluate(&setup(model, cell.task, cell.scoring, &cell.reduction), settings).unwrap()
}

/// Every log-likelihood and log-probability bit for bit, and all that records are made of.
pub(crate) fn assert_same(place: &str, shared: &Evaluation, alone: &Evaluation) {
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

/// All strategies that a model can serve, under every protocol, and both kinds of positions where it reads them.
pub(crate) fn grid<'a>(model: &LanguageModel, tasks: &'a [Task], ratios: &[f64]) -> Vec<Cell<'a>> {
    let mut cells = Vec::new();
    let shown = model.config().signals(0..model.config().n_layer());
    let kinds = if model.config().uses_positions() { &POSITIONS[..] } else { &POSITIONS[..1] };
    for scoring in protocol::all().iter().map(|protocol| protocol.with_batch_size(5)) {
        for strategy in registry::all() {
            for ratio in ratios {
                for task in tasks {
                    let mut reduction = Reduction { sites: sites(model), ..reduction(strategy.name, &[], *ratio) };
                    if !reduction.rule.signals().without(shown).is_empty() {
                        // In a hybrid some layers show what others lack.
                        let reads = reduction.rule.signals();
                        if model.config().layers.iter().all(|layer| !reads.without(layer.signals()).is_empty()) {
                            continue;
                        }
                        reduction.signal_from = SignalFrom::NearestSsm;
                    }
                    let dense = strategy.name == "dense";
                    if dense {
                        reduction = Reduction::dense();
                    }
                    let (text, causal) =
                        (task.kind == TaskKind::RunningText, reduction.rule.causality() != Causality::None);
                    if scoring.protocol().refuses(text, !dense, causal).is_some() {
                        continue;
                    }
                    for (_, positions) in kinds {
                        let reduction = Reduction { positions: *positions, ..reduction.clone() };
                        cells.push(Cell { task, scoring, reduction });
                    }
                }
            }
        }
    }
    cells
}
