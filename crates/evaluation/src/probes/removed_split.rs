//! Probe `removed_split`: which part of the tokens that a strategy removes is missed?
//!
//! Protocol `context`. The strategy runs once and decides at each site which tokens it removes. These tokens stay in place, and in all layers after
//! the site of each a part of what it would hand on to later tokens is taken away: [`super::missed`] has the table of parts. With
//! `whole` nothing is taken away, `all` is what the strategy does. A token that was merged into another one counts as removed, and
//! `all` drops it.

use ssm_model::LanguageModel;

use super::kept_tokens::contexts;
use super::missed::{self, Case, PARTS, Part};
use super::passes::{AnswerLoss, Observation, embed, in_groups, through};
use super::questions::{Question, questions};
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, Recurrence, Subject, Values, items};
use crate::error::EvaluationError;
use crate::run::{Driven, Reduction, drive, located};

pub(super) static PROBE: Probe = Probe {
    name: "removed_split",
    version: 1,
    question: "Of the tokens that a strategy removes, what is missed: their writes into the state, their decays of it, or their places in the convolution?",
    formula: "the answer with a part of all removed tokens taken away in all layers after their sites; loss_increase: its loss minus that of the whole sequence",
    columns: &[
        Column {
            name: "variant",
            help: "what is taken away: write, decay, write_and_decay, conv, all (pruning); whole: nothing",
            values: Values::Words(&["whole", "write", "decay", "write_and_decay", "conv", "all"]),
        },
        Column {
            name: "necessary",
            help: "kept: items of which every token that the answer needs is kept; dropped: at least one is removed; any: both together",
            values: Values::Words(&["kept", "dropped", "any"]),
        },
    ],
    measures: &[
        Measure { name: "correct", unit: "share", help: "answers of which every scored token is the greedy one" },
        Measure { name: "answer_lost", unit: "share", help: "answers that were the greedy ones and are no more" },
        Measure { name: "loss_increase", unit: "nats per scored token", help: "of the answer" },
        Measure { name: "tokens", unit: "tokens", help: "removed from an item" },
    ],
    options: &[items(200)],
    subject: Subject::Reduction,
    needs: Needs { recurrence: Recurrence::SomeLayer, separate_kinds: true, removal_alone: true, ..Needs::NOTHING },
    cost: "one reduced pass and seven passes of each item through the layers after the first site, in short calls",
    run,
};

/// A group is larger than its rows say, because each of them runs in short calls: one for the tokens between two removed ones.
const COPIES: usize = 2;

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let (model, reduction) = (setup.model, setup.reduction());
    let Some(site) = reduction.sites.first() else { return Ok(ProbeTable::default()) };
    let positions = model.config().uses_positions().then_some(reduction.positions);
    if let Some(reason) = PROBE.refuses(&reduction.rule, positions) {
        return Err(EvaluationError::NotSplit(reason));
    }
    in_groups(model, &questions(setup.items), COPIES, |group| look(model, reduction, site + 1, group))
}

/// Each question with the tokens that are removed from it, and its answer with every part taken away.
type Answered<'q, 'a> = Vec<(Case<'q, 'a>, Vec<AnswerLoss>)>;

fn answered<'q, 'a>(
    model: &LanguageModel,
    reduction: &Reduction,
    first: usize,
    group: &'q [Question<'a>],
) -> Result<Answered<'q, 'a>, EvaluationError> {
    let batch = contexts(group);
    let (_, driven) =
        drive(model, &batch, reduction).map_err(|error| located(model, &batch, reduction, &error).unwrap_or(error))?;
    let removed = removed(&driven, group.len());
    let cases = group.iter().zip(removed).enumerate();
    let cases: Vec<Case<'_, '_>> =
        cases.map(|(sequence, (question, removed))| Case { question, sequence, removed }).collect();
    let inputs: Vec<Vec<u32>> = group.iter().map(Question::inputs).collect();
    let arriving = through(model, embed(model, &inputs)?, 0..first)?;
    let answers = missed::run(model, &arriving, first, &cases, &mut |_, _, _| Ok(()))?;
    Ok(cases.into_iter().zip(answers.chunks(PARTS.len()).map(<[_]>::to_vec)).collect())
}

fn look(
    model: &LanguageModel,
    reduction: &Reduction,
    first: usize,
    group: &[Question<'_>],
) -> Result<Vec<Observation>, EvaluationError> {
    let mut seen = Vec::new();
    for (case, answers) in answered(model, reduction, first, group)? {
        let (question, dense) = (case.question, answers[0]);
        let is_removed =
            |position: &u32| case.removed.binary_search_by_key(position, |(position, _)| *position as u32).is_ok();
        let own = if question.necessary.iter().any(is_removed) { "dropped" } else { "kept" };
        // Where no token is marked, all of them and none are the same.
        let own = Some(own).filter(|_| !question.necessary.is_empty());
        for (part, answer) in PARTS.into_iter().zip(answers) {
            for necessary in own.into_iter().chain(["any"]) {
                let keys = [Key::from(part.name()), Key::from(necessary)];
                let share = |yes: bool| f64::from(u8::from(yes));
                let mut see = |measure, value| seen.push((question.item, measure, value, keys.to_vec()));
                see("correct", share(answer.right));
                see("loss_increase", answer.loss - dense.loss);
                if dense.right {
                    see("answer_lost", share(!answer.right));
                }
                if part == Part::All {
                    see("tokens", case.removed.len() as f64);
                }
            }
        }
    }
    Ok(seen)
}

/// Of each sequence: the positions of the tokens that were removed, ascending, with the first layer that ran without them.
fn removed(driven: &Driven, sequences: usize) -> Vec<Vec<(usize, usize)>> {
    let mut removed = vec![Vec::new(); sequences];
    for site in &driven.sites {
        let own = removed.iter_mut().zip(&site.plan.plans).zip(&site.arriving.segments);
        for ((removed, plan), tokens) in own {
            let Some(plan) = plan else { continue };
            let gone = tokens.positions.iter().enumerate();
            let gone = gone.filter(|(row, _)| plan.keep().binary_search(&(*row as u32)).is_err());
            removed.extend(gone.map(|(_, position)| (*position as usize, site.site + 1)));
        }
    }
    for removed in &mut removed {
        removed.sort_unstable();
    }
    removed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reduction_strategies::Rule;
    use reduction_strategies::options::ResolvedOptions;
    use reduction_strategies::registry::Strategy;
    use ssm_model::{ModelConfig, Placement, RandomWeights, catalog};

    use super::*;
    use crate::probes::questions::tests::item;
    use crate::protocol::CONTEXT;
    use crate::run::SignalFrom;
    use crate::tasks::{Item, TaskKind};
    use crate::{Settings, Setup, evaluate};

    fn builtin(name: &str) -> LanguageModel {
        let checkpoint = catalog::builtin(name).unwrap().open().unwrap();
        let mut weights = checkpoint.weights;
        LanguageModel::load(&checkpoint.config, &mut weights, &Placement::cpu()).unwrap()
    }

    /// Mamba-2 with attention that has a convolution before it, random weights.
    fn hybrid() -> LanguageModel {
        let config = ModelConfig::from_json(
            r#"{"d_model": 32, "d_intermediate": 0, "n_layer": 8, "vocab_size": 96,
                "ssm_cfg": {"layer": "Mamba2", "d_state": 8, "headdim": 16, "ngroups": 1},
                "attn_layer_idx": [3, 5],
                "attn_cfg": {"causal": true, "d_conv": 4, "head_dim": 16, "num_heads": 2, "rotary_emb_dim": 8,
                             "qkv_proj_bias": false, "out_proj_bias": false},
                "rms_norm": true, "residual_in_fp32": true, "fused_add_norm": true, "pad_vocab_size_multiple": 8,
                "tie_embeddings": true}"#,
        )
        .unwrap();
        LanguageModel::load(&config, &mut RandomWeights { seed: 3 }, &Placement::cpu()).unwrap()
    }

    fn reduction(name: &str, keep_ratio: f64, sites: Vec<usize>) -> Reduction {
        let rule = Strategy::new(name, &BTreeMap::new()).unwrap().rule();
        Reduction { rule, keep_ratio, sites, signal_from: SignalFrom::NearestSsm, ..Reduction::dense() }
    }

    /// Of different lengths; the last is too short to lose a token.
    fn some_items() -> Vec<Item> {
        let context = |n: u32, seed: u32| (0..n).map(|i| (i * i * 7 + i * seed + 3) % 90).collect::<Vec<u32>>();
        vec![
            item(context(41, 5), vec![3, 20, 21], vec![17, 9]),
            item(context(26, 11), vec![0, 9], vec![30]),
            item(context(1, 2), vec![], vec![8, 4, 2]),
        ]
    }

    fn losses(model: &LanguageModel, items: &[Item], reduction: &Reduction) -> Vec<f64> {
        let setup = Setup { model, kind: TaskKind::Target, items, scoring: CONTEXT.defaults(), reduction };
        let scores = evaluate(&setup, Settings::default()).unwrap().items;
        scores.iter().map(|score| -score.choices[0].loglikelihood / score.choices[0].tokens.len() as f64).collect()
    }

    /// With everything taken away at every site the answer is that of the strategy, with nothing taken away that of the whole sequence, and
    /// each part is one of its own. Several sites, the first token and neighbouring tokens are among what is removed.
    #[test]
    fn all_is_the_strategy_and_whole_is_dense() {
        let items = some_items();
        let close = |got: f64, want: f64| (got - want).abs() < 1e-5 * want.max(1.0);
        for (name, model) in
            [("mamba2", builtin("mamba2-world")), ("mamba", builtin("mamba-world")), ("hybrid", hybrid())]
        {
            let dense = losses(&model, &items, &Reduction { rule: Rule::Identity, ..Reduction::dense() });
            for (rule, keep_ratio) in [("write_read", 0.6), ("drop_prefix", 0.8), ("random", 0.5)] {
                let reduction = reduction(rule, keep_ratio, vec![1, 2, 4]);
                let questions = questions(&items);
                let answered = answered(&model, &reduction, 2, &questions).unwrap();
                let pruned = losses(&model, &items, &reduction);
                for (item, (case, answers)) in answered.iter().enumerate() {
                    let what = format!("{name} {rule} {item}: {answers:?} {} {}", dense[item], pruned[item]);
                    let [whole, .., all] = answers[..] else { panic!("{what}") };
                    assert!(close(whole.loss, dense[item]) && close(all.loss, pruned[item]), "{what}");
                    assert_eq!(case.removed.is_empty(), items[item].contexts[0].tokens.len() < 2, "{what}");
                    if case.removed.is_empty() {
                        assert!(answers.iter().all(|answer| answer.loss.to_bits() == whole.loss.to_bits()), "{what}");
                        continue;
                    }
                    assert!((all.loss - whole.loss).abs() > 1e-4, "{what}: the tokens matter");
                    for part in &answers[1..answers.len() - 1] {
                        assert!((part.loss - whole.loss).abs() > 1e-6, "{what}: {part:?} changes something");
                        assert!((part.loss - all.loss).abs() > 1e-6, "{what}: {part:?} is not all");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_removal_is_refused() {
        let (items, model) = (some_items(), builtin("mamba2-world"));
        for rule in ["split_branches", "state_merge"] {
            let (reduction, options) =
                (reduction(rule, 0.6, vec![1]), ResolvedOptions::resolve(PROBE.options, &BTreeMap::new()).unwrap());
            let (kind, reduction) = (TaskKind::Target, Some(&reduction));
            let setup = ProbeSetup { model: &model, kind, items: &items, options: &options, seed: 0, reduction };
            let error = run(&setup).unwrap_err();
            assert!(matches!(error, EvaluationError::NotSplit(_)), "{rule}: {error}");
        }
    }
}
