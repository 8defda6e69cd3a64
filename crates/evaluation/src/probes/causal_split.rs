//! Probe `causal_split`: which part of a removed token is missed?
//!
//! A token that is removed after layer s is absent from the scans and convolutions of all later layers. This takes away one part at a
//! time, in all of those layers: [`super::missed`] has the table of parts. The token's own rows stay what they are in the whole sequence.

use candle_core::{Device, Tensor};
use ssm_model::LanguageModel;

use super::columns::{Facts, REMOVED, keys};
use super::missed::{self, Case, PARTS};
use super::passes::{Observation, embed, in_groups, through};
use super::questions::{Question, Removed, questions};
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, Recurrence, SITE_DEPTH, Subject, Values, items};
use crate::error::EvaluationError;
use reduction_strategies::options::{OptionDefault, OptionInfo, OptionKind};

const TOKENS: OptionInfo = OptionInfo {
    name: "tokens",
    kind: OptionKind::Integer { min: 1, max: 100 },
    default: OptionDefault::Integer(2),
    help: "tokens of each kind (necessary, other) that are removed from an item, one at a time",
};

pub(super) static PROBE: Probe = Probe {
    name: "causal_split",
    version: 1,
    question: "Of a removed token, what is missed: its write into the state, its decay of the state, or its place in the convolution?",
    formula: "loss of the answer with a part of one token taken away in all layers behind the site, minus the loss of the whole sequence; ||h_end - h'_end|| / ||h_end||",
    columns: &[
        Column {
            name: "variant",
            help: "what is taken away: write, decay, write_and_decay, conv, all; whole: nothing",
            values: Values::Follow(variants),
        },
        Column { name: "removed", help: "necessary: a token that the answer needs; other", values: REMOVED },
        Column {
            name: "layer",
            help: "0-based, of state_divergence; none for what concerns the answer",
            values: Values::Follow(end_layers),
        },
    ],
    measures: &[
        Measure { name: "loss_increase", unit: "nats per scored token", help: "of the answer" },
        Measure { name: "answer_lost", unit: "share", help: "answers that were the greedy ones and are no more" },
        Measure { name: "state_divergence", unit: "share", help: "of the scan's state at the end of the item" },
    ],
    options: &[items(40), SITE_DEPTH, TOKENS],
    subject: Subject::Model,
    needs: Needs { recurrence: Recurrence::EveryLayer, ..Needs::NOTHING },
    cost: "six passes over what stands behind each removed token",
    run,
};

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let (model, site, tokens) = (setup.model, setup.site(), setup.options.integer("tokens") as usize);
    let copies = PARTS.len() * 2 * tokens;
    in_groups(model, &questions(setup.items), copies, |group| look(model, site, tokens, setup.seed, group))
}

fn look(
    model: &LanguageModel,
    site: usize,
    tokens: usize,
    seed: u64,
    group: &[Question<'_>],
) -> Result<Vec<Observation>, EvaluationError> {
    let inputs: Vec<Vec<u32>> = group.iter().map(Question::inputs).collect();
    let arriving = through(model, embed(model, &inputs)?, 0..site + 1)?;
    let (mut cases, mut kinds): (Vec<Case<'_, '_>>, Vec<Removed>) = (Vec::new(), Vec::new());
    for (sequence, question) in group.iter().enumerate() {
        for (position, removed) in question.tokens_to_remove(seed, tokens) {
            cases.push(Case { question, sequence, removed: vec![(position, site + 1)] });
            kinds.push(removed);
        }
    }
    if cases.is_empty() {
        return Ok(Vec::new());
    }
    let mut seen = Vec::new();
    let answers = missed::run(model, &arriving, site + 1, &cases, &mut |layer, case, states| {
        end_divergence(layer, states, cases[case].question.item, kinds[case], &mut seen)
    })?;
    for ((case, removed), answers) in cases.iter().zip(kinds).zip(answers.chunks(PARTS.len())) {
        let dense = answers[0];
        for (part, answer) in PARTS.into_iter().zip(answers) {
            let keys = vec![Key::from(part.name()), Key::from(removed.name()), Key::None];
            seen.push((case.question.item, "loss_increase", answer.loss - dense.loss, keys.clone()));
            if dense.right {
                seen.push((case.question.item, "answer_lost", f64::from(u8::from(!answer.right)), keys));
            }
        }
    }
    Ok(seen)
}

/// What is taken away: the states are compared with those of the whole.
fn variants(facts: &Facts<'_>) -> Vec<Key> {
    PARTS[usize::from(facts.measure == "state_divergence")..].iter().map(|part| Key::from(part.name())).collect()
}

/// Layers with a state; the answer has none.
fn end_layers(facts: &Facts<'_>) -> Vec<Key> {
    if facts.measure == "state_divergence" { keys(&facts.scans()) } else { vec![Key::None] }
}

/// How far the states at the end of a case are from those of the whole sequence.
fn end_divergence(
    layer: usize,
    states: &Tensor,
    item: usize,
    removed: Removed,
    seen: &mut Vec<Observation>,
) -> Result<(), EvaluationError> {
    let states = states.flatten_from(1)?.to_device(&Device::Cpu)?;
    let reference = states.narrow(0, 0, 1)?;
    let squares = states.broadcast_sub(&reference)?.sqr()?.sum(1)?.to_vec1::<f32>()?;
    let norm = reference.sqr()?.sum_all()?.to_scalar::<f32>()?;
    for (part, square) in PARTS.into_iter().zip(squares).skip(1) {
        let keys = vec![Key::from(part.name()), Key::from(removed.name()), Key::from(layer)];
        seen.push((item, "state_divergence", f64::from(square / norm).sqrt(), keys));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reduction_strategies::{HostRule, Plan, PlanError, Rule, SequenceView};
    use ssm_model::{Placement, catalog};

    use super::*;
    use crate::probes::questions::tests::item;
    use crate::protocol::CONTEXT;
    use crate::tasks::TaskKind;
    use crate::{Reduction, Settings, Setup, evaluate};

    /// Drops one token.
    #[derive(Debug)]
    struct DropOne(u32);

    impl HostRule for DropOne {
        fn kept(&self, _: usize, n: usize) -> usize {
            n - 1
        }

        fn plan(&self, view: &SequenceView<'_>, _: usize) -> Result<Plan, PlanError> {
            Plan::prune(view.len(), (0..view.len() as u32).filter(|row| *row != self.0).collect())
        }
    }

    /// Taking everything away is what a strategy does that drops the token; taking nothing away changes nothing.
    #[test]
    fn all_parts_together_are_pruning() {
        for name in ["mamba2-world", "mamba-world"] {
            let checkpoint = catalog::builtin(name).unwrap().open().unwrap();
            let mut weights = checkpoint.weights;
            let model = LanguageModel::load(&checkpoint.config, &mut weights, &Placement::cpu()).unwrap();
            // One removable token that is marked: the probe has no choice.
            let items = [item(vec![12, 40, 7, 93, 51, 28, 64, 30], vec![4], vec![17, 9])];
            let seen = look(&model, 3, 1, 0, &questions(&items)).unwrap();
            let loss_increase = |variant: &str| {
                let keys = vec![Key::from(variant), Key::from("necessary"), Key::None];
                seen.iter().find(|seen| seen.1 == "loss_increase" && seen.3 == keys).unwrap().2
            };
            let loss = |rule: Rule| {
                let reduction = Reduction { rule, keep_ratio: 0.9, sites: vec![3], ..Reduction::dense() };
                let scoring = CONTEXT.defaults();
                let setup =
                    Setup { model: &model, kind: TaskKind::Target, items: &items, scoring, reduction: &reduction };
                -evaluate(&setup, Settings::default()).unwrap().items[0].choices[0].loglikelihood / 2.0
            };
            let pruned = loss(Rule::Host(Arc::new(DropOne(4)))) - loss(Rule::Identity);
            assert!((loss_increase("all") - pruned).abs() < 1e-4, "{name}: {} {pruned}", loss_increase("all"));
            assert!(pruned.abs() > 1e-3, "{name}: the token matters");
            assert!(loss_increase("whole").abs() < 1e-12);
            for variant in ["write", "decay", "write_and_decay", "conv"] {
                assert!(loss_increase(variant).abs() > 1e-6, "{name}: {variant} changes something");
            }
        }
    }
}
