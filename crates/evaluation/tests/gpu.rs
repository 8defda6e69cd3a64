//! Evaluations on a GPU against the CPU: every strategy and protocol. Needs a GPU: `just test-gpu`.
#![cfg(feature = "cuda")]

mod common;

use candle_core::DType;
use common::{model, reduction, setup, task};
use evaluation::{Evaluation, Protocol, Reduction, Settings, evaluate};
use reduction_strategies::registry;
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

#[test]
#[ignore = "needs a GPU"]
fn every_strategy_and_protocol_in_float32() {
    for name in ["mamba-world", "mamba2-world"] {
        let (here, there) = (model(name), on_gpu(name, DType::F32));
        for task in [task("world_lambada", 6), task("world_piqa", 4)] {
            for strategy in registry::all() {
                let reduction = reduction(strategy.name, &[], 0.8);
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
