//! Evaluations on a GPU against the CPU: every strategy and protocol. Needs a GPU: `just test-gpu`.
#![cfg(feature = "cuda")]
#![expect(clippy::print_stderr, reason = "shown with --nocapture: how alike plans and scores are")]

mod common;

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use common::grid::{Cell, alone, assert_same, grid, settings, shared};
use common::{RANDOM, load, model, reduction, setup, sites, spoiled, task};
use evaluation::probes::{self, ProbeSetup, Recurrence, Subject};
use evaluation::protocol::CONTEXT;
use evaluation::{Evaluation, ItemPlan, Reduction, Settings, evaluate};
use reduction_strategies::options::ResolvedOptions;
use ssm_kernels::device;
use ssm_model::{LanguageModel, Placement, Signal};

const MODELS: [&str; 3] = ["mamba-world", "mamba2-world", "neox-world"];

fn on_gpu(name: &str, dtype: DType) -> LanguageModel {
    let placement = Placement::new(device::open_cuda(0).unwrap(), dtype).unwrap();
    load(name, &placement)
}

fn scores(evaluation: &Evaluation) -> Vec<f64> {
    evaluation.items.iter().flat_map(|item| item.choices.iter().map(|choice| choice.loglikelihood)).collect()
}

/// Where both devices decide alike, scores agree; a choice between near equals may fall either way, which most do not meet.
#[test]
#[ignore = "needs a GPU"]
fn every_strategy_and_protocol_in_float32() {
    for name in MODELS.into_iter().chain(RANDOM) {
        let (here, there) = (model(name), on_gpu(name, DType::F32));
        let tasks = [task("world_lambada", 6), task("world_piqa", 4)];
        let (mut alike, mut all) = (0, 0);
        for Cell { task, scoring, reduction } in grid(&here, &tasks, &[0.8]) {
            let settings = Settings { recorded_plans: task.items.len(), ..Settings::default() };
            let run = |model| evaluate(&setup(model, task, scoring, &reduction), settings).unwrap();
            let (want, got) = (run(&here), run(&there));
            let what = format!("{name} {} {} {reduction:?}", task.name, scoring.protocol().name);
            for (index, (a, b)) in want.items.iter().zip(&got.items).enumerate() {
                assert_eq!((a.tokens_in, a.tokens_kept), (b.tokens_in, b.tokens_kept), "{what}");
                all += 1;
                if !plans(&want, index).eq(plans(&got, index)) {
                    continue;
                }
                alike += 1;
                for (a, b) in a.choices.iter().zip(&b.choices) {
                    let (a, b) = (a.loglikelihood, b.loglikelihood);
                    assert!((a - b).abs() <= 1e-3 * a.abs().max(1.0), "{what}: item {index}: {a} and {b}");
                }
            }
            assert_eq!(scores(&got), scores(&run(&there)), "{what}: the same twice");
        }
        eprintln!("{name}: plans of {alike} of {all} items are alike");
        // Untrained models score tokens more alike.
        assert!(RANDOM.contains(&name) || 4 * alike >= 3 * all, "{name}: plans of {alike} of {all} items are alike");
    }
}

/// What was decided for an item, site by site.
fn plans(evaluation: &Evaluation, item: usize) -> impl Iterator<Item = &ItemPlan> {
    evaluation.plans.iter().filter(move |plan| plan.item == item)
}

#[test]
#[ignore = "needs a GPU"]
fn dense_items_in_float32_and_bfloat16() {
    for name in MODELS {
        let task = task("world_hellaswag", 40);
        let dense = Reduction::dense();
        let run = |model: &LanguageModel| {
            evaluate(&setup(model, &task, CONTEXT.defaults(), &dense), Settings::default()).unwrap()
        };
        let want = scores(&run(&model(name)));
        for (dtype, limit) in [(DType::F32, 1e-3), (DType::BF16, 0.5)] {
            let got = scores(&run(&on_gpu(name, dtype)));
            let worst = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            eprintln!("{name} {dtype:?}: worst difference of an item's log-likelihood {worst:.2e}");
            assert!(worst < limit, "{name} {dtype:?}: {worst}");
        }
    }
}

/// Sharing decides on the GPU and forks on the host; the bits are those of each cell alone there.
#[test]
#[ignore = "needs a GPU"]
fn a_shared_grid_has_the_bits_of_its_cells_run_alone() {
    for name in MODELS.into_iter().chain(RANDOM) {
        for dtype in [DType::F32, DType::BF16] {
            let model = on_gpu(name, dtype);
            let tasks = [task("world_lambada", 3), task("world_piqa", 2), task("world_winogrande", 2)];
            // Both kinds of positions double the cells of a Transformer.
            let ratios = if model.config().uses_positions() { &[0.7][..] } else { &[0.95, 0.7] };
            let cells = grid(&model, &tasks, ratios);
            let (results, sharing) = shared(&model, &cells, settings(2048, 2));
            for (cell, result) in cells.iter().zip(results) {
                let place = format!("{name} {dtype:?} {:?} {:?}", cell.scoring, cell.reduction);
                assert_same(&place, &result.unwrap(), &alone(&model, cell));
            }
            assert!(sharing.token_layers_executed < sharing.token_layers_asked * 9 / 10, "{sharing:?}");
        }
    }
}

/// Every row of every probe, in float32; a rule may choose otherwise between equals, which this one does not meet here.
#[test]
#[ignore = "needs a GPU"]
fn every_probe_in_float32() {
    let task = task("passkey", 3);
    for name in MODELS {
        let (here, there) = (model(name), on_gpu(name, DType::F32));
        let top_k = Reduction { sites: sites(&here), ..reduction("top_k", &[], 0.8) };
        for probe in probes::all() {
            let reduction = (probe.subject == Subject::Reduction).then_some(&top_k);
            let recurrent = probe.needs.recurrence != Recurrence::None;
            if recurrent && !here.config().signals(0..here.config().n_layer()).contains(Signal::Scan) {
                continue;
            }
            let options = ResolvedOptions::resolve(probe.options, &BTreeMap::new()).unwrap();
            let run = |model| {
                let setup =
                    ProbeSetup { model, kind: task.kind, items: &task.items, options: &options, seed: 0, reduction };
                probe.run(&setup).unwrap()
            };
            let (want, got) = (run(&here), run(&there));
            assert_eq!(got, run(&there), "{name} {}: the same twice", probe.name);
            assert_eq!(want.rows.len(), got.rows.len(), "{name} {}", probe.name);
            for (a, b) in want.rows.iter().zip(&got.rows) {
                assert_eq!((&a.keys, &a.measure), (&b.keys, &b.measure), "{name} {}", probe.name);
                let (x, y) = (a.value().unwrap(), b.value().unwrap());
                let what = format!("{name} {} {} {:?}: {x} and {y}", probe.name, a.measure, a.keys);
                assert!((x - y).abs() <= 1e-3 * x.abs().max(1.0), "{what}");
            }
        }
    }
}

/// A GPU on which others have left little memory: fewer rows a call, the same bits.
#[test]
#[ignore = "needs a GPU"]
fn a_gpu_without_memory_runs_fewer_rows_a_call() {
    const LEFT: usize = 96 << 20;
    let model = on_gpu("mamba2-world", DType::F32);
    let gpu = &model.placement().device;
    let task = task("world_hellaswag", 500);
    let cells = ["dense", "top_k", "utrc"].map(|strategy| {
        let reduction = reduction(strategy, &[], 0.8);
        Cell { task: &task, scoring: CONTEXT.defaults(), reduction }
    });
    let (free, _) = device::memory(gpu).unwrap().unwrap();
    let ballast = Tensor::zeros(free - LEFT, DType::U8, gpu).unwrap();
    let (scarce, few) = shared(&model, &cells, settings(32_768, 1));
    drop(ballast);
    let (plenty, many) = shared(&model, &cells, settings(32_768, 1));
    for (a, b) in scarce.into_iter().zip(plenty) {
        assert_same("scarce", &a.unwrap(), &b.unwrap());
    }
    assert!(few.peak_rows <= many.peak_rows / 2, "{few:?} {many:?}");
}

/// What is no number fails its cells on the GPU and is named as on the CPU, whether the rule plans there, on the host or blindly.
#[test]
#[ignore = "needs a GPU"]
fn what_is_no_number_fails_its_cells_and_is_named() {
    for (name, tensor, place) in [
        ("mamba2-world", "backbone.layers.3.mixer.dt_bias", "layer 3: dt "),
        ("mamba2-world", "backbone.layers.3.mixer.out_proj.weight", "layer 3: the output of the block "),
        ("mamba-world", "backbone.layers.3.mixer.dt_proj.bias", "layer 3: dt "),
        ("neox-world", "gpt_neox.layers.1.mlp.dense_h_to_4h.weight", "layer 1: the output of the block "),
    ] {
        for dtype in [DType::F32, DType::BF16] {
            let placement = Placement::new(device::open_cuda(0).unwrap(), dtype).unwrap();
            // A matrix in bfloat16 is checked once more after it was rounded.
            let Ok(model) = spoiled::load(name, (tensor, 0, f32::NAN), &placement) else {
                assert_eq!(dtype, DType::BF16);
                continue;
            };
            let task = task("world_piqa", 3);
            let shown = model.config().signals(0..model.config().n_layer());
            let names =
                ["dense", "top_k", "tome", "utrc", "drop_prefix", "random", "evit_released", "mtr", "inverted_top_k"];
            let reductions = names.map(|strategy| match strategy {
                "dense" => Reduction::dense(),
                strategy => Reduction { sites: sites(&model), ..reduction(strategy, &[], 0.7) },
            });
            let served = |reduction: &Reduction| reduction.rule.signals().without(shown).is_empty();
            let cells: Vec<_> = reductions
                .into_iter()
                .filter(served)
                .map(|reduction| Cell { task: &task, scoring: CONTEXT.defaults(), reduction })
                .collect();
            let (together, _) = shared(&model, &cells, settings(512, 2));
            for (cell, together) in cells.iter().zip(together) {
                let what = format!("{name} {tensor} {dtype:?} {:?}", cell.reduction.rule);
                let alone = evaluate(&setup(&model, &task, cell.scoring, &cell.reduction), Settings::default());
                let (alone, together) = (alone.expect_err(&what).to_string(), together.expect_err(&what).to_string());
                assert!(alone.contains(place) && together.contains(place), "{what}: {alone}; {together}");
            }
        }
    }
}

/// Rules that plan on the GPU do so for all rows of a call: what is no number in one item is none of the others' business.
#[test]
#[ignore = "needs a GPU"]
fn an_item_that_is_no_number_hurts_its_own_cells_alone() {
    let placement = Placement::new(device::open_cuda(0).unwrap(), DType::F32).unwrap();
    spoiled::hurts_its_own_cells_alone(&placement);
}
