//! The sharing executor against cells run alone: the same bits for every registered strategy.

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::grid::{Cell, PLANS, alone, assert_same, grid, layouts, settings, shared};
use common::{model, reduction, sites, task};
use evaluation::executor::{CellRequest, Event, ExecutorSettings, Sharing, evaluate_jobs};
use evaluation::protocol::{CAUSAL, CONTEXT, UPSTREAM};
use evaluation::tasks::Task;
use evaluation::{
    Evaluation, EvaluationError, POSITIONS, Partial, Reduction, Settings, SignalFrom, evaluate, evaluate_span,
};
use hint::Hint;
use reduction_strategies::{HostRule, Plan, PlanError, Rule, SequenceView};

fn compare(name: &str, ratios: &[f64], settings: ExecutorSettings) -> Sharing {
    let model = model(name);
    let mut tasks = vec![task("world_lambada", 2), task("world_hellaswag", 1), task("world_winogrande", 1)];
    let mut text = task("world_text", 1);
    text.items[0].contexts[0].tokens.truncate(150);
    tasks.push(text);
    let cells = grid(&model, &tasks, ratios);
    let (results, sharing) = shared(&model, &cells, settings);
    for (cell, result) in cells.iter().zip(results) {
        let place = format!("{name} {:?}", cell.scoring);
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

/// Attention reads positions: cells that keep the original ones share no branch with cells that do not once tokens are gone.
#[test]
fn a_transformer_shares_as_the_mambas_do_with_either_positions() {
    compare("neox-world", &[0.9, 0.7], settings(256, 2));
    let model = model("neox-world");
    let task = task("world_lambada", 3);
    let [original, compacted] = POSITIONS.map(|(_, positions)| {
        let reduction = Reduction { sites: sites(&model), positions, ..reduction("uniform", &[], 0.7) };
        let setup = common::setup(&model, &task, CONTEXT.defaults(), &reduction);
        evaluate(&setup, Settings::default()).unwrap()
    });
    assert_eq!(original.work, compacted.work);
    for (a, b) in original.items.iter().zip(&compacted.items) {
        assert!((a.choices[0].loglikelihood - b.choices[0].loglikelihood).abs() > 1e-6, "positions matter");
    }
    // A reduction saves more of the attention than of the rest.
    let dense = Reduction::dense();
    let dense = evaluate(&common::setup(&model, &task, CONTEXT.defaults(), &dense), Settings::default()).unwrap();
    let share = |a: u64, b: u64| a as f64 / b as f64;
    assert!(
        share(original.work.token_pairs, dense.work.token_pairs)
            < share(original.work.token_layers, dense.work.token_layers)
    );
}

/// Layers of two kinds, and rules that read at an attention layer what the scan before it showed, once across another site. FLOPs are
/// those of each layer.
#[test]
fn a_hybrid_runs_every_strategy_and_shares_as_the_others_do() {
    compare("hybrid", &[0.9, 0.7], settings(256, 2));
    let model = model("hybrid");
    let task = task("world_lambada", 3);
    let run = |reduction: &Reduction| {
        evaluate(&common::setup(&model, &task, CONTEXT.defaults(), reduction), Settings::default())
    };
    let (config, dense) = (model.config(), run(&Reduction::dense()).unwrap().work);
    let pairs = dense.token_pairs / 8 * config.attention_flops_per_pair();
    assert_eq!(dense.block_flops, dense.tokens_in * config.flops_per_token() + pairs);

    let at = |sites: &[usize], signal_from| Reduction {
        sites: sites.to_vec(),
        signal_from,
        ..reduction("top_k", &[("importance", "dt_mean")], 0.5)
    };
    let error = run(&at(&[4], SignalFrom::Site)).unwrap_err().to_string();
    assert!(error.contains("dt"), "{error}");
    // After layer 4 the tokens are chosen by what layer 2 showed: the same ones as after layer 2 itself.
    let [late, early] = [at(&[4], SignalFrom::NearestSsm), at(&[2], SignalFrom::Site)].map(|one| {
        let settings = Settings { recorded_plans: 3, ..Settings::default() };
        let plans = evaluate(&common::setup(&model, &task, CONTEXT.defaults(), &one), settings).unwrap().plans;
        plans.into_iter().map(|plan| plan.kept).collect::<Vec<_>>()
    });
    assert_eq!(late, early);
}

/// Embeddings of the tokens go the way of their rows: through plans, forks and packed calls.
#[test]
fn a_model_that_reads_embeddings_shares_as_the_others_do() {
    compare("zamba2", &[0.9, 0.7], settings(256, 2));
    compare("zamba2-nope", &[0.8], settings(256, 2));
}

/// Prunes from the front, except in item 1, where it fails.
#[derive(Debug)]
struct FailsOnItemOne;

impl HostRule for FailsOnItemOne {
    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        if view.draw.item == 1 {
            return Err(PlanError::MissingSignal(ssm_model::Signal::Influence));
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
    let mut cells = grid(&model, &tasks, &[0.7]);
    cells.retain(|cell| cell.scoring == CONTEXT.defaults());
    let rule = Rule::Host(Arc::new(FailsOnItemOne));
    let failing = Reduction { rule, ..reduction("random", &[], 0.7) };
    cells.insert(1, Cell { reduction: failing, ..cells[0].clone() });
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
            Cell { task, scoring: CONTEXT.defaults(), reduction }
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

/// A short item padded to a long one, whose own tokens are dropped first: nobody reads a row of it, and its branches go on all the
/// same.
#[test]
fn a_document_of_which_nothing_is_read_has_a_row_in_every_branch() {
    let model = model("mamba2-world");
    let mut task = task("world_lambada", 3);
    for (item, length) in task.items.iter_mut().zip([60, 12, 7]) {
        item.contexts[0].tokens.truncate(length);
    }
    let cells: Vec<Cell<'_>> = ["utrc", "random", "drop_prefix"]
        .iter()
        .flat_map(|strategy| [0.9, 0.8, 0.7, 0.6].map(|ratio| reduction(strategy, &[], ratio)))
        .map(|reduction| Cell { task: &task, scoring: UPSTREAM.with_batch_size(5), reduction })
        .collect();
    let (results, _) = shared(&model, &cells, settings(2048, 1));
    for (cell, result) in cells.iter().zip(results) {
        assert_same(&format!("{:?}", cell.reduction), &result.unwrap(), &alone(&model, cell));
    }
}

#[test]
fn a_document_beyond_the_memory_fails_with_a_hint() {
    let model = model("mamba2-world");
    let tasks = [task("world_lambada", 1)];
    let cells = grid(&model, &tasks, &[0.7]);
    let tight = ExecutorSettings { memory_bytes: 4_600_000, ..settings(512, 1) };
    let (results, sharing) = shared(&model, &cells, tight);
    for result in results {
        let error = result.unwrap_err();
        assert!(matches!(*error, EvaluationError::Memory { .. }) && error.hint().is_some(), "{error}");
    }
    assert_eq!(sharing.token_layers_executed, 0);
}

/// Cells cut into groups, which run as jobs one after the other, are written to JSON, read back and put together.
#[test]
fn groups_put_together_have_the_bits_of_the_whole() {
    let model = model("mamba2-world");
    let tasks = [task("world_lambada", 7), task("world_hellaswag", 3)];
    let mut cells = grid(&model, &tasks, &[0.8]);
    cells.retain(|cell| !matches!(cell.reduction.rule, Rule::Host(_)) || cell.scoring.protocol().pads());
    let (layouts, of) = layouts(&cells);
    let groups = layouts.iter().enumerate().flat_map(|(index, layout)| {
        let spans = layout.spans(100);
        assert!(spans.len() > 1, "several groups");
        spans.into_iter().map(move |span| (index, span))
    });
    let groups: Vec<_> = groups.collect();
    let of_layout = |index: usize| (0..cells.len()).filter(|cell| of[*cell] == index).collect::<Vec<_>>();
    let mut jobs = groups.iter().map(|(index, span)| {
        let request = |cell: usize| {
            let reduction = cells[cell].reduction.clone();
            CellRequest { layout: &layouts[*index], span: span.clone(), reduction }
        };
        of_layout(*index).into_iter().map(request).collect::<Vec<_>>()
    });
    let mut parts: Vec<Vec<(usize, Partial)>> = vec![Vec::new(); cells.len()];
    evaluate_jobs(&model, settings(64, 2), &mut || jobs.next(), &|| false, &mut |event| {
        if let Event::Done { job, cells, .. } = event {
            for (cell, outcome) in of_layout(groups[job].0).into_iter().zip(cells) {
                let json = serde_json::to_string(&outcome.result.unwrap()).unwrap();
                parts[cell].push((groups[job].1.start, serde_json::from_str(&json).unwrap()));
            }
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    for (index, (cell, mut parts)) in cells.iter().zip(parts).enumerate() {
        parts.sort_by_key(|(start, _)| *start);
        let joined = layouts[of[index]].evaluation(parts.into_iter().map(|(_, part)| part));
        let whole = alone(&model, cell);
        assert_same(&format!("{:?} {:?}", cell.scoring, cell.reduction), &joined, &whole);
        // The reference in groups is the reference in one piece.
        let (layout, options) = (&layouts[of[index]], Settings { recorded_plans: PLANS, ..Settings::default() });
        let span = |span| evaluate_span(&model, layout, span, &cell.reduction, options).unwrap().0;
        assert_same("spans", &layout.evaluation(layout.spans(150).into_iter().map(span)), &whole);
    }
}

#[test]
fn breaking_off_leaves_the_rest_out() {
    let model = model("mamba2-world");
    let tasks = [task("world_lambada", 2), task("world_piqa", 2)];
    let cells = grid(&model, &tasks, &[0.7]);
    let (layouts, of) = layouts(&cells);
    let request = |cell: usize| {
        let layout = &layouts[of[cell]];
        CellRequest { layout, span: layout.whole(), reduction: cells[cell].reduction.clone() }
    };
    let (mut begun, mut ended) = (0, 0);
    let mut next = || {
        begun += 1;
        (begun <= cells.len()).then(|| vec![request(begun - 1)])
    };
    evaluate_jobs(&model, settings(64, 2), &mut next, &|| false, &mut |event| match event {
        Event::Done { .. } => {
            ended += 1;
            ControlFlow::Break(())
        }
        Event::Progress { .. } => ControlFlow::Continue(()),
    })
    .unwrap();
    assert_eq!(ended, 1);
    assert!(begun < cells.len(), "{begun} of {} jobs were begun", cells.len());
    let mut next = || Some(vec![request(0)]);
    evaluate_jobs(&model, settings(64, 2), &mut next, &|| true, &mut |_| panic!("stopped before anything ran"))
        .unwrap();
    // In the middle of the only micro-batch there is: it is asked before every layer.
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::SeqCst) == 5;
    let mut next = || (asked.load(Ordering::SeqCst) <= 1).then(|| (0..cells.len()).map(request).collect());
    evaluate_jobs(&model, settings(4096, 1), &mut next, &stop, &mut |_| panic!("nothing ended")).unwrap();
    assert_eq!(asked.into_inner(), 6, "nothing was tried again");
}

#[test]
fn a_rule_that_looks_ahead_is_refused_under_the_causal_protocol() {
    let model = model("mamba2-world");
    let tasks = [task("world_lambada", 2)];
    let cell =
        |strategy| Cell { task: &tasks[0], scoring: CAUSAL.defaults(), reduction: reduction(strategy, &[], 0.7) };
    let (results, _) = shared(&model, &[cell("top_k"), cell("block_causal")], settings(512, 1));
    assert!(matches!(**results[0].as_ref().unwrap_err(), EvaluationError::NotCausal));
    assert!(results[1].is_ok());
}

/// The oracle runs the model itself: the same bits in company, and too long a document fails for it alone.
#[test]
fn the_oracle_is_measured_for_those_who_ask() {
    let model = model("mamba-world");
    let (short, mut long) = (task("world_winogrande", 2), task("world_text", 1));
    let tokens = &mut long.items[0].contexts[0].tokens;
    *tokens = tokens.iter().copied().cycle().take(560).collect();
    let oracle = |task| {
        let reduction = reduction("top_k", &[("importance", "oracle")], 0.7);
        Cell { reduction, ..plain(task) }
    };
    let cells = [oracle(&short), plain(&short), oracle(&long), plain(&long)];
    let (results, _) = shared(&model, &cells, settings(512, 1));
    for index in [0, 1, 3] {
        assert_same("beside an oracle", results[index].as_ref().unwrap(), &alone(&model, &cells[index]));
    }
    let refused = results[2].as_ref().unwrap_err();
    assert!(matches!(**refused, EvaluationError::OracleLength { tokens: 280, .. }), "{refused}");
    let lost = |result: &Result<Evaluation, Arc<EvaluationError>>| {
        let items = &result.as_ref().unwrap().items;
        items.iter().map(|item| item.choices[0].loglikelihood.to_bits()).collect::<Vec<_>>()
    };
    assert_ne!(lost(&results[0]), lost(&results[1]), "the oracle chooses other tokens");
}

fn plain(task: &Task) -> Cell<'_> {
    Cell { task, scoring: CONTEXT.defaults(), reduction: reduction("top_k", &[], 0.7) }
}
