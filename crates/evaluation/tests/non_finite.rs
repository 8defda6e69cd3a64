//! Values that are no finite numbers fail the cells that they reach, and are named where they arose: in the executor as in cells run
//! alone, whatever the rule. The weights are put in past the check of a checkpoint, which has a test of its own.

mod common;

use std::collections::BTreeMap;

use common::grid::{Cell, settings, shared};
use common::{reduction, setup, sites, task};
use evaluation::probes::{self, ProbeSetup, Subject};
use evaluation::protocol::{ALIGNED, CONTEXT, UPSTREAM};
use evaluation::{EvaluationError, POSITIONS, Reduction, Settings, evaluate};
use hint::Hint;
use reduction_strategies::options::ResolvedOptions;
use reduction_strategies::registry;
use ssm_model::{LanguageModel, Placement, catalog};

fn spoiled(model: &str, name: &str, place: usize, value: f32) -> LanguageModel {
    common::spoiled::load(model, (name, place, value), &Placement::cpu()).unwrap()
}

/// What every cell of a model fails with, run alone and shared.
fn failures(model: &LanguageModel, reductions: &[Reduction]) -> Vec<EvaluationError> {
    let task = task("world_piqa", 2);
    let cells: Vec<Cell<'_>> = reductions
        .iter()
        .map(|reduction| Cell { task: &task, scoring: CONTEXT.defaults(), reduction: reduction.clone() })
        .collect();
    let (together, _) = shared(model, &cells, settings(512, 2));
    let mut errors = Vec::new();
    for (cell, together) in cells.iter().zip(together) {
        let alone = evaluate(&setup(model, &task, cell.scoring, &cell.reduction), Settings::default());
        let alone = alone.expect_err("a cell whose model holds no numbers has a score");
        assert_eq!(alone.to_string(), together.unwrap_err().to_string(), "alone and together");
        assert!(alone.hint().is_some_and(|hint| hint.contains("overflowed")), "{alone}");
        errors.push(alone);
    }
    errors
}

/// No reduction, and rules that rank, pair, decide in order, follow the release, and look at nothing.
fn reductions(model: &LanguageModel) -> Vec<Reduction> {
    let names =
        ["top_k", "tome", "utrc", "block_causal", "evit_released", "drop_prefix", "random", "mtr", "chunk_merge"];
    let strategies = names.iter().filter(|name| registry::all().iter().any(|known| known.name == **name));
    let shown = model.config().signals(0..model.config().n_layer());
    let mut all: Vec<Reduction> = strategies
        .map(|name| Reduction { sites: sites(model), ..reduction(name, &[], 0.7) })
        .filter(|reduction| reduction.rule.signals().without(shown).is_empty())
        .collect();
    assert!(all.len() >= 6);
    all.push(Reduction::dense());
    all
}

/// One NaN of each kind of weight: every cell fails, and the first tensor that it reaches is named.
#[test]
fn nan_in_any_weight_of_a_layer_fails_every_cell_and_is_named() {
    for (model, tensors) in [
        (
            "mamba2-world",
            &[
                ("backbone.layers.3.mixer.dt_bias", "layer 3: dt "),
                ("backbone.layers.3.mixer.in_proj.weight", "layer 3: the SSM output "),
                ("backbone.layers.3.mixer.conv1d.weight", "layer 3: x "),
                ("backbone.layers.3.mixer.conv1d.bias", "layer 3: x "),
                ("backbone.layers.3.mixer.A_log", "layer 3: the SSM output "),
                ("backbone.layers.3.mixer.D", "layer 3: the SSM output "),
                ("backbone.layers.3.mixer.norm.weight", "layer 3: the output of the block "),
                ("backbone.layers.3.mixer.out_proj.weight", "layer 3: the output of the block "),
                ("backbone.layers.3.norm.weight", "layer 3: x "),
            ][..],
        ),
        (
            "mamba-world",
            &[
                ("backbone.layers.3.mixer.dt_proj.bias", "layer 3: dt "),
                ("backbone.layers.3.mixer.dt_proj.weight", "layer 3: dt "),
                ("backbone.layers.3.mixer.x_proj.weight", "layer 3: dt "),
                ("backbone.layers.3.mixer.A_log", "layer 3: the SSM output "),
            ][..],
        ),
        (
            "neox-world",
            &[
                ("gpt_neox.layers.1.attention.query_key_value.bias", "layer 1: the SSM output "),
                ("gpt_neox.layers.1.mlp.dense_h_to_4h.weight", "layer 1: the output of the block "),
                ("gpt_neox.layers.1.input_layernorm.bias", "layer 1: the SSM output "),
            ][..],
        ),
    ] {
        for (name, place) in tensors {
            // The last row of `in_proj` is that of dt, in the first head's group otherwise: any row does.
            let model = spoiled(model, name, 0, f32::NAN);
            for error in failures(&model, &reductions(&model)) {
                let text = error.to_string();
                let named = text.contains(place) || name.ends_with("in_proj.weight") && text.contains("layer 3: ");
                assert!(named && text.contains(" at token "), "{name}: {text}");
            }
        }
    }
}

/// Finite weights that overflow: the head, and the final norm.
#[test]
fn what_overflows_behind_the_last_layer_is_named() {
    let model = spoiled("mamba2-world", "backbone.norm_f.weight", 3, f32::MAX);
    for error in failures(&model, &[Reduction::dense(), reduction("uniform", &[], 0.7)]) {
        let text = error.to_string();
        assert!(text.contains("all layers are finite: the final norm or the head overflows"), "{text}");
    }
}

/// A large value that is a number: its square is none, and used to make a row of zeros.
#[test]
fn an_overflow_inside_a_norm_is_none_of_its_zeros() {
    let model = spoiled("mamba2-world", "backbone.layers.3.mixer.out_proj.weight", 5, 1e30);
    let errors = failures(&model, &[Reduction::dense(), reduction("drop_prefix", &[], 0.7)]);
    assert!(errors.iter().all(|error| error.to_string().contains(" layer 4: x ")), "{errors:?}");
}

/// A token whose value is no number is removed at the very site after the layer where it arose, by a rule that looks at nothing.
#[test]
fn a_token_does_not_take_nan_along() {
    // The embedding of one token that stands early; the last layer before its site turns it into no number.
    let checkpoint = catalog::builtin("mamba2-world").unwrap().open().unwrap();
    let width = checkpoint.config.d_model;
    let task = task("world_piqa", 2);
    let token = task.items[0].contexts[0].tokens[1] as usize;
    let model = spoiled("mamba2-world", "backbone.embedding.weight", token * width, f32::NAN);
    // The site is layer 0, and the removed tokens are the first ones: the recurrence has carried it on all the same, so that the error
    // names the first layer.
    let first = Reduction { sites: vec![0], ..reduction("drop_prefix", &[], 0.5) };
    for error in failures(&model, &[first]) {
        assert!(error.to_string().contains("layer 0: the residual is NaN or infinite at token 1"), "{error}");
    }
}

/// A probe gives no number either.
#[test]
fn probes_refuse_what_is_no_number() {
    let task = task("world_lambada", 2);
    for probe in probes::all() {
        if probe.needs.necessary_tokens && task.items.iter().all(|item| item.contexts[0].necessary.is_empty()) {
            continue;
        }
        let model = spoiled("mamba2-world", "backbone.layers.3.mixer.dt_bias", 0, f32::NAN);
        let options = ResolvedOptions::resolve(probe.options, &BTreeMap::new()).unwrap();
        let own = Reduction { sites: sites(&model), ..reduction("top_k", &[], 0.8) };
        let reduction = (probe.subject == Subject::Reduction).then_some(&own);
        let setup =
            ProbeSetup { model: &model, kind: task.kind, items: &task.items, options: &options, seed: 0, reduction };
        let error = probe.run(&setup).expect_err(probe.name);
        assert!(error.to_string().contains("layer 3: "), "{}: {error}", probe.name);
    }
}

/// The rule that the plan asks is enforced where it counts, too.
#[test]
fn reduced_running_text_is_refused_where_it_would_leak_the_future() {
    let checkpoint = catalog::builtin("mamba2-world").unwrap().open().unwrap();
    let mut weights = checkpoint.weights;
    let model = LanguageModel::load(&checkpoint.config, &mut weights, &Placement::cpu()).unwrap();
    let mut text = task("world_text", 1);
    text.items[0].contexts[0].tokens.truncate(40);
    let rule = Reduction { sites: sites(&model), ..reduction("uniform", &[], 0.7) };
    for scoring in [ALIGNED.defaults(), UPSTREAM.with_batch_size(2)] {
        let error = evaluate(&setup(&model, &text, scoring, &rule), Settings::default()).unwrap_err();
        assert!(error.to_string().contains("leaks the future") && error.hint().is_some(), "{error}");
        let cell = |reduction: &Reduction| Cell { task: &text, scoring, reduction: reduction.clone() };
        let (results, _) = shared(&model, &[cell(&rule), cell(&Reduction::dense())], settings(512, 1));
        assert!(matches!(&results[0], Err(error) if matches!(**error, EvaluationError::LeaksFuture)));
        assert!(results[1].is_ok(), "nothing is reduced");
    }
    let context = evaluate(&setup(&model, &text, CONTEXT.defaults(), &rule), Settings::default());
    assert!(context.is_ok());
}

/// Leave-one-out influence runs the later layers with the positions that the cell itself has.
#[test]
fn the_oracle_of_a_transformer_knows_its_positions() {
    let checkpoint = catalog::builtin("neox-world").unwrap().open().unwrap();
    let mut weights = checkpoint.weights;
    let model = LanguageModel::load(&checkpoint.config, &mut weights, &Placement::cpu()).unwrap();
    let mut task = task("world_lambada", 4);
    task.items.retain(|item| item.contexts[0].tokens.len() <= 200);
    let cells = POSITIONS.map(|(_, positions)| {
        let oracle = reduction("top_k", &[("importance", "oracle")], 0.7);
        let reduction = Reduction { sites: vec![1], positions, ..oracle };
        Cell { task: &task, scoring: CONTEXT.defaults(), reduction }
    });
    let (together, _) = shared(&model, &cells, settings(512, 1));
    let mut plans = Vec::new();
    for (cell, together) in cells.iter().zip(together) {
        let alone = common::grid::alone(&model, cell);
        common::grid::assert_same("oracle", &together.unwrap(), &alone);
        plans.push(alone.plans);
    }
    assert!(!plans[0].is_empty() && plans[0] != plans[1], "what a token is worth depends on what happens to positions");
}

#[test]
fn an_item_that_is_no_number_hurts_its_own_cells_alone() {
    common::spoiled::hurts_its_own_cells_alone(&Placement::cpu());
}
