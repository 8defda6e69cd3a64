//! The importance `oracle` on a model that reads positions, against tokens removed by hand.

mod common;

use candle_core::Tensor;
use common::{model, reduction, task};
use evaluation::protocol::CONTEXT;
use evaluation::{ItemPlan, Positions, Reduction, Settings, evaluate};
use ssm_kernels::Segments;
use ssm_model::{Activations, LanguageModel, LayerRequest};

const SITE: usize = 1;

/// Runs `layers` with these positions of the rows.
fn run(
    model: &LanguageModel,
    layers: std::ops::Range<usize>,
    mut activations: Activations,
    positions: &[u32],
) -> Activations {
    let segments = Segments::independent(&[positions.len()]);
    for layer in layers {
        let request = LayerRequest { positions: Some(positions), ..LayerRequest::default() };
        activations = model.layer(layer, &activations, &segments, request).unwrap().activations;
    }
    activations
}

/// Log-probabilities after the last of `rows`, which pass the layers after the site at `positions`.
fn outcome(model: &LanguageModel, arriving: &Activations, rows: &[u32], positions: &[u32]) -> Vec<f64> {
    let index = Tensor::new(rows, arriving.hidden.device()).unwrap();
    let start = arriving.map(|x| x.index_select(&index, 0)).unwrap();
    let end = run(model, SITE + 1..model.config().n_layer(), start, positions);
    let logits = model.head(&end, &[rows.len() as u32 - 1]).unwrap();
    let logits: Vec<f64> = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect();
    let total = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    logits.iter().map(|logit| logit - total).collect()
}

/// Influence of every token but the last. `compacted`: whether tokens move up into the gap.
fn influence_by_hand(model: &LanguageModel, context: &[u32], compacted: bool) -> Vec<f64> {
    let n = context.len() as u32;
    let all: Vec<u32> = (0..n).collect();
    let arriving = run(model, 0..SITE + 1, model.embed(context).unwrap(), &all);
    let whole = outcome(model, &arriving, &all, &all);
    let influence = |removed: u32| {
        let kept: Vec<u32> = (0..n).filter(|row| *row != removed).collect();
        let positions = if compacted { &all[..kept.len()] } else { &kept };
        let without = outcome(model, &arriving, &kept, positions);
        whole.iter().zip(&without).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
    };
    (0..n - 1).map(influence).collect()
}

/// What `oracle` keeps of each context.
fn kept_by_oracle(model: &LanguageModel, task: &evaluation::tasks::Task, positions: Positions) -> Vec<ItemPlan> {
    let oracle = reduction("top_k", &[("importance", "oracle")], 0.5);
    let reduction = Reduction { sites: vec![SITE], positions, ..oracle };
    let settings = Settings { recorded_plans: task.items.len(), ..Settings::default() };
    evaluate(&common::setup(model, task, CONTEXT.defaults(), &reduction), settings).unwrap().plans
}

/// Whether no removed token has more influence than a kept one, up to float32.
fn follows(plan: &ItemPlan, influence: &[f64]) -> bool {
    let of = |positions: &[u32]| -> Vec<f64> {
        positions.iter().filter_map(|position| influence.get(*position as usize)).copied().collect()
    };
    let least = of(&plan.kept).into_iter().fold(f64::INFINITY, f64::min);
    let most = of(&plan.dropped).into_iter().fold(0.0, f64::max);
    most <= least + 1e-5 * most.max(1.0)
}

/// The kept tokens are those that matter more than every removed one, when tokens are removed at the positions that the cell asks for.
#[test]
fn the_oracle_of_a_transformer_is_pruning_by_hand_at_the_positions_of_the_cell() {
    let model = model("neox-world");
    let mut task = task("world_lambada", 6);
    task.items.retain(|item| item.contexts[0].tokens.len() <= 80);
    assert!(task.items.len() >= 2, "short contexts");
    let original = kept_by_oracle(&model, &task, Positions::Original);
    let compacted = kept_by_oracle(&model, &task, Positions::Compacted);
    assert_ne!(original, compacted, "what a token is worth depends on the positions of the others");
    for (plans, moves_up) in [(original, false), (compacted, true)] {
        assert_eq!(plans.len(), task.items.len());
        let explained = |plan: &ItemPlan, compacted| {
            let context = &task.items[plan.item].contexts[0].tokens;
            follows(plan, &influence_by_hand(&model, context, compacted))
        };
        assert!(plans.iter().all(|plan| explained(plan, moves_up)), "compacted: {moves_up}");
        assert!(!plans.iter().all(|plan| explained(plan, !moves_up)), "the other positions do not explain the plans");
    }
}
