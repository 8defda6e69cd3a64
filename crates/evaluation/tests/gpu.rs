//! Evaluations on a GPU against the CPU: every strategy and protocol. Needs a GPU: `just test-gpu`.
#![cfg(feature = "cuda")]

mod common;

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use common::grid::{Cell, alone, assert_same, grid, settings, shared};
use common::{model, reduction, setup, task};
use evaluation::{Evaluation, Protocol, Reduction, Settings, evaluate};
use reduction_strategies::registry::{self, Strategy};
use ssm_kernels::device;
use ssm_model::{LanguageModel, Placement, catalog};

fn on_gpu(name: &str, dtype: DType) -> LanguageModel {
    let placement = Placement::new(device::open_cuda(0).unwrap(), dtype).unwrap();
    let checkpoint = catalog::builtin(name).unwrap().open().unwrap();
    let mut weights = checkpoint.weights;
    LanguageModel::load(&checkpoint.config, &mut weights, &placement).unwrap()
}

fn scores(evaluation: &Evaluation) -> Vec<f64> {
    evaluation.items.iter().flat_map(|item| item.choices.iter().map(|choice| choice.loglikelihood)).collect()
}

/// Rows that last longer are for the scan of Mamba-2 alone on a GPU.
fn is_refused(model: &str, reduction: &Reduction) -> bool {
    let timed = Strategy::new("state_merge", &BTreeMap::new()).unwrap().rule();
    model == "mamba-world" && reduction.rule.fingerprint() == timed.fingerprint()
}

#[test]
#[ignore = "needs a GPU"]
fn rows_that_last_longer_are_refused_in_the_scan_of_mamba() {
    let (model, task) = (on_gpu("mamba-world", DType::F32), task("world_lambada", 2));
    let reduction = reduction("state_merge", &[], 0.7);
    let error = evaluate(&setup(&model, &task, Protocol::Context, &reduction), Settings::default()).unwrap_err();
    assert!(error.to_string().contains("GPU"), "{error}");
}

#[test]
#[ignore = "needs a GPU"]
fn every_strategy_and_protocol_in_float32() {
    for name in ["mamba-world", "mamba2-world"] {
        let (here, there) = (model(name), on_gpu(name, DType::F32));
        for task in [task("world_lambada", 6), task("world_piqa", 4)] {
            for strategy in registry::all() {
                let reduction = reduction(strategy.name, &[], 0.8);
                if is_refused(name, &reduction) {
                    continue;
                }
                for protocol in [Protocol::Context, Protocol::Aligned, Protocol::Upstream { batch_size: 4 }] {
                    let run =
                        |model| evaluate(&setup(model, &task, protocol, &reduction), Settings::default()).unwrap();
                    let (want, got) = (run(&here), run(&there));
                    let what = format!("{name} {} {} {}", task.name, strategy.name, protocol.name());
                    // A choice between near equals may fall either way; most items must not notice.
                    let (want_scores, got_scores) = (scores(&want), scores(&got));
                    assert_eq!(want_scores.len(), got_scores.len(), "{what}");
                    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-3 * a.abs().max(1.0);
                    let same = want_scores.iter().zip(&got_scores).filter(|pair| close(*pair)).count();
                    assert!(4 * same >= 3 * want_scores.len(), "{what}: {same} of {} agree", want_scores.len());
                    for (want, got) in want.items.iter().zip(&got.items) {
                        assert_eq!((want.tokens_in, want.tokens_kept), (got.tokens_in, got.tokens_kept), "{what}");
                    }
                    assert_eq!(scores(&got), scores(&run(&there)), "{what}: the same twice");
                }
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn dense_items_in_float32_and_bfloat16() {
    for name in ["mamba-world", "mamba2-world"] {
        let task = task("world_hellaswag", 40);
        let dense = Reduction::dense();
        let run = |model: &LanguageModel| {
            evaluate(&setup(model, &task, Protocol::Context, &dense), Settings::default()).unwrap()
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
    for name in ["mamba-world", "mamba2-world"] {
        for dtype in [DType::F32, DType::BF16] {
            let model = on_gpu(name, dtype);
            let tasks = [task("world_lambada", 3), task("world_piqa", 2), task("world_winogrande", 2)];
            let mut cells = grid(&model, &tasks, &[0.95, 0.7]);
            cells.retain(|cell| !is_refused(name, &cell.reduction));
            let (results, sharing) = shared(&model, &cells, settings(2048, 1));
            for (cell, result) in cells.iter().zip(results) {
                let place = format!("{name} {dtype:?} {:?} {:?}", cell.protocol, cell.reduction);
                assert_same(&place, &result.unwrap(), &alone(&model, cell));
            }
            assert!(sharing.token_layers_executed < sharing.token_layers_asked * 9 / 10, "{sharing:?}");
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
        Cell { task: &task, protocol: Protocol::Context, reduction }
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
