//! The guards on a trained model: sound protocols pass for every strategy, the released evaluation is found out.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{model, reduction, setup, sites, task};
use evaluation::guards::{alone, causal, identity, oracle};
use evaluation::protocol::{ALIGNED, CAUSAL, CONTEXT, UPSTREAM};
use evaluation::tasks::{Item, Task};
use evaluation::{Evaluation, EvaluationError, POSITIONS, Reduction, Scoring, Settings, Setup, evaluate};
use hint::Hint;
use reduction_strategies::{Causality, Rule, registry};
use ssm_model::LanguageModel;

const MODEL: &str = "mamba2-world";
const KEEP: f64 = 0.8;

fn run(model: &LanguageModel, task: &Task, items: &[Item], scoring: Scoring, reduction: &Reduction) -> Evaluation {
    evaluate(&Setup { items, ..setup(model, task, scoring, reduction) }, Settings::default()).unwrap()
}

fn bits(evaluation: &Evaluation) -> Vec<u64> {
    let choices = evaluation.items.iter().flat_map(|item| &item.choices);
    choices.map(|choice| choice.loglikelihood.to_bits()).collect()
}

/// One task with a target, one with choices of one context, one with a context per choice.
fn sample() -> Vec<Task> {
    vec![task("world_lambada", 4), task("world_piqa", 2), task("world_winogrande", 2)]
}

#[test]
fn every_strategy_passes_under_sound_protocols() {
    let model = model(MODEL);
    let tasks = sample();
    for strategy in registry::all() {
        let reduction = reduction(strategy.name, &[], KEEP);
        for scoring in [CONTEXT.defaults(), ALIGNED.defaults()] {
            let mut oracle_checked = 0;
            for task in &tasks {
                for guard in [oracle, identity, alone] {
                    let outcome = guard(&setup(&model, task, scoring, &reduction)).unwrap();
                    let place = format!("{} {} {}", strategy.name, scoring.protocol().name, task.name);
                    assert!(outcome.passed, "{place}: {outcome:?}");
                    if outcome.guard == "oracle" {
                        oracle_checked += outcome.checked;
                    } else {
                        assert!(outcome.checked > 0, "{place}: {outcome:?}");
                    }
                }
            }
            // Where the end of every sequence goes no target may be covered, and the guard has nothing to ask.
            assert!(
                oracle_checked > 0 || strategy.name == "drop_suffix",
                "{} {}",
                strategy.name,
                scoring.protocol().name
            );
        }
    }
}

/// Both kinds of positions: a continuation must follow its context in either.
#[test]
fn a_transformer_passes_under_sound_protocols() {
    let model = model("neox-world");
    for (_, positions) in POSITIONS {
        for strategy in ["uniform", "top_k", "tome", "utrc"] {
            let reduction = Reduction { sites: sites(&model), positions, ..reduction(strategy, &[], KEEP) };
            for scoring in [CONTEXT.defaults(), ALIGNED.defaults()] {
                for task in sample() {
                    for guard in [oracle, identity, alone] {
                        let outcome = guard(&setup(&model, &task, scoring, &reduction)).unwrap();
                        assert!(outcome.passed, "{strategy} {} {}: {outcome:?}", scoring.protocol().name, task.name);
                    }
                }
            }
        }
    }
}

/// Every strategy that claims causality, with the options under which it does.
fn causal_reductions() -> Vec<(String, Reduction)> {
    let online = ("local_merge", vec![("decide", "online")]);
    let plain = registry::all().into_iter().map(|strategy| (strategy.name, Vec::new()));
    let all = plain.chain([online, ("block_causal", vec![("removed", "merge"), ("importance", "write_norm")])]);
    let all = all.map(|(name, options)| (format!("{name} {options:?}"), reduction(name, &options, KEEP)));
    all.filter(|(_, reduction)| reduction.rule.causality() != Causality::None).collect()
}

#[test]
fn causal_strategies_pass_under_the_causal_protocol_and_leak_nothing() {
    for name in [MODEL, "mamba-world"] {
        let model = model(name);
        let mut tasks = sample();
        tasks.push(task("world_text", 1));
        tasks[3].items[0].contexts[0].tokens.truncate(200);
        let reductions = causal_reductions();
        assert!(reductions.len() >= 4, "{reductions:?}");
        for (what, reduction) in &reductions {
            let mut asked_of_the_oracle = 0;
            for task in &tasks {
                let setup = setup(&model, task, CAUSAL.defaults(), reduction);
                let sure = oracle(&setup).unwrap();
                assert!(sure.passed, "{name} {what} {}: {sure:?}", task.name);
                asked_of_the_oracle += sure.checked;
                for outcome in [identity(&setup), alone(&setup), causal(&model, &task.items, reduction)] {
                    let outcome = outcome.unwrap();
                    assert!(outcome.passed && outcome.checked > 0, "{name} {what} {}: {outcome:?}", task.name);
                }
            }
            assert!(asked_of_the_oracle > 0, "{name} {what}");
        }
    }
}

#[test]
fn the_causal_protocol_refuses_rules_that_look_ahead() {
    let model = model(MODEL);
    let task = task("world_text", 1);
    for strategy in ["top_k", "uniform", "tome", "local_merge"] {
        let reduction = reduction(strategy, &[], KEEP);
        let refused = evaluate(&setup(&model, &task, CAUSAL.defaults(), &reduction), Settings::default()).unwrap_err();
        assert!(matches!(refused, EvaluationError::NotCausal) && refused.hint().is_some(), "{strategy}: {refused}");
    }
    let dense = Reduction { rule: Rule::Identity, ..reduction("top_k", &[], KEEP) };
    assert!(evaluate(&setup(&model, &task, CAUSAL.defaults(), &dense), Settings::default()).is_ok());
}

/// A guard that passes because nothing was reduced would prove nothing.
#[test]
fn the_guarded_reductions_do_reduce() {
    let model = model(MODEL);
    let task = task("world_lambada", 2);
    let dense = run(&model, &task, &task.items, CONTEXT.defaults(), &Reduction::dense());
    for strategy in registry::all().into_iter().filter(|strategy| strategy.name != "dense") {
        let reduced = run(&model, &task, &task.items, CONTEXT.defaults(), &reduction(strategy.name, &[], KEEP));
        assert!(reduced.items.iter().all(|item| item.tokens_kept < item.tokens_in), "{}", strategy.name);
        assert_ne!(bits(&dense), bits(&reduced), "{}", strategy.name);
    }
}

#[test]
fn the_oracle_finds_out_the_released_slicing_where_drops_are_scattered() {
    let model = model(MODEL);
    let task = task("world_lambada", 8);
    for strategy in ["random", "evit_released"] {
        let reduction = reduction(strategy, &[], KEEP);
        // Without padding, so that nothing but the slicing is to blame.
        let outcome = oracle(&setup(&model, &task, UPSTREAM.with_batch_size(1), &reduction)).unwrap();
        assert!(!outcome.passed && outcome.measured < 1.0, "{strategy}: {outcome:?}");
        assert_eq!(outcome.checked, 8, "{strategy}: every target was asked for");
    }
}

/// With `metric: clip` the released code thins the front of the row, the one case in which its slicing is right.
#[test]
fn the_released_slicing_is_right_for_prefix_thinning_without_padding() {
    let model = model(MODEL);
    let task = task("world_lambada", 1);
    let reduction = reduction("utrc_released", &[], KEEP);
    let outcome = oracle(&setup(&model, &task, UPSTREAM.with_batch_size(96), &reduction)).unwrap();
    assert!(outcome.passed && outcome.checked == 1, "{outcome:?}");
    let item = &run(&model, &task, &task.items, UPSTREAM.with_batch_size(96), &reduction).items[0];
    assert!(item.tokens_kept < item.tokens_in);
}

#[test]
fn the_released_evaluation_depends_on_the_batch_once_rows_are_reduced() {
    let model = model(MODEL);
    let task = task("world_lambada", 6);
    let upstream = UPSTREAM.with_batch_size(96);
    for strategy in ["random", "evit_released", "utrc_released"] {
        let outcome = alone(&setup(&model, &task, upstream, &reduction(strategy, &[], KEEP))).unwrap();
        assert!(!outcome.passed, "{strategy}: {outcome:?}");
    }
    // Padding on the right alone changes nothing: without reduction the guard holds.
    let outcome = alone(&setup(&model, &task, upstream, &Reduction::dense())).unwrap();
    assert!(outcome.passed, "{outcome:?}");
}

#[test]
fn choices_share_one_reduced_context() {
    let model = model(MODEL);
    let reduction = reduction("random", &[], KEEP);
    let task = task("world_hellaswag", 3);
    let evaluation = run(&model, &task, &task.items, CONTEXT.defaults(), &reduction);
    for (item, score) in task.items.iter().zip(&evaluation.items) {
        let context = item.contexts[0].tokens.len();
        let continuations: usize = item.requests.iter().map(|request| request.continuation.len() - 1).sum();
        assert_eq!(score.tokens_in as usize, context + continuations, "{}", item.id);
    }
}

#[test]
fn a_choice_scores_alike_whatever_the_others_are() {
    let model = model(MODEL);
    for strategy in ["random", "utrc", "tome"] {
        let reduction = reduction(strategy, &[], KEEP);
        let task = task("world_hellaswag", 2);
        let all = run(&model, &task, &task.items, CONTEXT.defaults(), &reduction);
        for (item, score) in task.items.iter().zip(&all.items) {
            for (index, choice) in score.choices.iter().enumerate() {
                let mut single = item.clone();
                single.requests = vec![item.requests[index].clone()];
                single.gold = Some(0);
                // Random draws depend on the item's index, so the item keeps its place.
                let mut items = task.items.clone();
                let place = items.iter().position(|other| other.id == item.id).unwrap();
                items[place] = single;
                let alone = run(&model, &task, &items, CONTEXT.defaults(), &reduction);
                assert_eq!(alone.items[place].choices[0], *choice, "{strategy} {} choice {index}", item.id);
            }
        }
    }
}

#[test]
fn contexts_of_one_item_are_counted_each() {
    let model = model(MODEL);
    let task = task("world_winogrande", 2);
    let evaluation = run(&model, &task, &task.items, CONTEXT.defaults(), &Reduction::dense());
    for (item, score) in task.items.iter().zip(&evaluation.items) {
        assert!(item.contexts.len() > 1);
        let contexts: usize = item.contexts.iter().map(|context| context.tokens.len()).sum();
        let continuations: usize = item.requests.iter().map(|request| request.continuation.len() - 1).sum();
        assert_eq!(score.tokens_in as usize, contexts + continuations, "{}", item.id);
    }
}

/// A signal must not wait for the passes of a guard: the run ends before the next layer, and what was stopped is no outcome.
#[test]
fn guards_end_when_the_model_is_asked_to_stop() {
    let task = task("world_lambada", 2);
    let reduction = reduction("tome", &[], KEEP);
    for layers in [0, 1, 9] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let model = model(MODEL).stopping_when(move || counter.fetch_add(1, Ordering::Relaxed) >= layers);
        for guard in [oracle, identity, alone] {
            let error = guard(&setup(&model, &task, CONTEXT.defaults(), &reduction)).unwrap_err();
            assert!(error.is_stop(), "{error}");
        }
        assert!(asked.load(Ordering::Relaxed) > layers);
    }
}
