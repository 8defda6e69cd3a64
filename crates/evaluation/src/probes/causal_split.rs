//! Probe `causal_split`: which part of a removed token is missed?
//!
//! A token that is removed after layer s is absent from the scans and convolutions of all layers behind it. This takes away one part at a
//! time, in all of those layers:
//!
//! | variant | conv inputs of later tokens | state behind the token |
//! |---|---|---|
//! | `write` | with the token | `exp(dt A) h` (decayed, nothing written) |
//! | `decay` | with the token | `h + dt B x` (written, not decayed) |
//! | `write_and_decay` | with the token | `h` (as if the scan had skipped it) |
//! | `conv` | without | `exp(dt A) h + dt B x` |
//! | `all` | without | `h`: what pruning does |
//!
//! No layer is changed for this. States are values: the tokens before the removed one and the token itself run as segments, and those
//! behind it start from a state that is put together from theirs. The token's own rows stay what they are in the whole sequence; in
//! every variant they only reach later tokens through what the variant keeps.

use candle_core::{Device, Tensor};
use ssm_kernels::Segments;
use ssm_model::{LanguageModel, LayerState, Signal, SignalSet};

use super::passes::{
    AnswerLoss, Observation, answer_loss, answer_readings, embed, forward, in_groups, parts, rows_of, score, through,
    whole,
};
use super::questions::{Question, Removed, questions};
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, Recurrence, SITE_DEPTH, Subject, items};
use crate::error::EvaluationError;
use crate::run::{Check, LayerInput, PackedStream, RowTokens, Wanted, run_layer};
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
        },
        Column { name: "removed", help: "necessary: a token that the answer needs; other" },
        Column { name: "layer", help: "0-based, of state_divergence; none for what concerns the answer" },
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

/// What is taken away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Whole,
    Write,
    Decay,
    WriteAndDecay,
    Conv,
    All,
}

const VARIANTS: [Variant; 6] =
    [Variant::Whole, Variant::Write, Variant::Decay, Variant::WriteAndDecay, Variant::Conv, Variant::All];

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Write => "write",
            Self::Decay => "decay",
            Self::WriteAndDecay => "write_and_decay",
            Self::Conv => "conv",
            Self::All => "all",
        }
    }

    fn takes_conv(self) -> bool {
        matches!(self, Self::Conv | Self::All)
    }

    /// The scan's state behind the token, from the states before and after it and the one that only decayed.
    fn scan(self, before: &Tensor, after: &Tensor, decayed: &Tensor) -> Result<Tensor, EvaluationError> {
        Ok(match self {
            Self::Whole | Self::Conv => after.clone(),
            Self::Write => decayed.clone(),
            Self::Decay => ((before + after)? - decayed)?,
            Self::WriteAndDecay | Self::All => before.clone(),
        })
    }
}

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let (model, site, tokens) = (setup.model, setup.site(), setup.options.integer("tokens") as usize);
    let copies = VARIANTS.len() * 2 * tokens;
    in_groups(model, &questions(setup.items), copies, |group| look(model, site, tokens, setup.seed, group))
}

struct Case<'q, 'a> {
    question: &'q Question<'a>,
    position: usize,
    removed: Removed,
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
    let mut cases = Vec::new();
    let (mut front, mut lengths, mut parents) = (Vec::new(), Vec::new(), Vec::new());
    let (mut behind, mut behind_lengths, mut positions) = (Vec::new(), Vec::new(), Vec::new());
    for (index, question) in group.iter().enumerate() {
        let rows = arriving.segments.rows(index);
        let row = |place: usize| (rows.start + place) as u32;
        for (position, removed) in question.tokens_to_remove(seed, tokens) {
            front.extend((0..=position).map(row));
            parents.extend([None, Some(lengths.len())]);
            lengths.extend([position, 1]);
            for _ in VARIANTS {
                behind.extend((position + 1..rows.len()).map(row));
                positions.extend(position as u32 + 1..rows.len() as u32);
                behind_lengths.push(rows.len() - position - 1);
            }
            cases.push(Case { question, position, removed });
        }
    }
    if cases.is_empty() {
        return Ok(Vec::new());
    }
    let front = rows_of(&arriving.activations, &front)?;
    let front = PackedStream::new(front, Segments::new(&lengths, &parents)?, RowTokens::untouched());
    let behind = rows_of(&arriving.activations, &behind)?;
    let behind_segments = Segments::independent(&behind_lengths);
    let mut behind = PackedStream::new(behind, behind_segments, RowTokens::at(model, positions));
    let mut seen = Vec::new();
    let signals = SignalSet::of(&[Signal::Dt, Signal::Scan]);
    let wanted = Wanted { signals, states: true, check: Check::Sequences };
    forward(
        model,
        front,
        site + 1..model.config().n_layer(),
        |_| wanted,
        |layer, front, shown| {
            let (Some(state), Some(dt), Some(scan)) =
                (&shown.state, shown.signals.get(Signal::Dt), shown.signals.scan())
            else {
                unreachable!("asked for")
            };
            let decays = decays(dt, &scan.a, &front.segments, parts(state)?.1.dims())?;
            let initial = starts(state, &decays)?;
            let input = LayerInput { initial: Some(&initial), ..behind.input() };
            let after = run_layer(model, layer, input, Wanted { signals: SignalSet::NONE, ..wanted })?;
            if let Some(state) = &after.state {
                end_divergence(layer, state, &cases, &mut seen)?;
            }
            behind.activations = after.activations;
            Ok(())
        },
    )?;
    answers(model, &behind, &cases, &mut seen)?;
    Ok(seen)
}

/// `exp(dt A)` of every removed token in the shape of a state: `[cases, d_inner, d_state]` or `[cases, nheads, 1, 1]`.
fn decays(dt: &Tensor, a: &Tensor, segments: &Segments, state: &[usize]) -> Result<Tensor, EvaluationError> {
    let rows: Vec<u32> = (1..segments.len()).step_by(2).map(|segment| segments.rows(segment).start as u32).collect();
    let dt = dt.index_select(&Tensor::new(rows.as_slice(), dt.device())?, 0)?;
    let (cases, heads) = dt.dims2()?;
    let a = a.reshape(((), heads))?;
    // [cases, own, heads] -> [cases, heads, own]
    let decay = dt.reshape((cases, 1, heads))?.broadcast_mul(&a.unsqueeze(0)?)?.exp()?.transpose(1, 2)?.contiguous()?;
    Ok(if state.len() == 4 { decay.unsqueeze(3)? } else { decay })
}

/// The state from which the tokens behind each removed one start, for every variant: cases in order, variants within.
fn starts(state: &LayerState, decays: &Tensor) -> Result<LayerState, EvaluationError> {
    let (conv, ssm) = parts(state)?;
    let cases = decays.dim(0)?;
    let select = |tensor: &Tensor, offset: u32| -> Result<Tensor, EvaluationError> {
        let index: Vec<u32> = (0..cases as u32).map(|case| 2 * case + offset).collect();
        Ok(tensor.index_select(&Tensor::new(index.as_slice(), tensor.device())?, 0)?)
    };
    let (before, after) = (select(ssm, 0)?, select(ssm, 1)?);
    let (conv_before, conv_after) = (select(conv, 0)?, select(conv, 1)?);
    let decayed = before.broadcast_mul(decays)?;
    let scans =
        VARIANTS.iter().map(|variant| variant.scan(&before, &after, &decayed)).collect::<Result<Vec<_>, _>>()?;
    let convs = VARIANTS.map(|variant| if variant.takes_conv() { conv_before.clone() } else { conv_after.clone() });
    Ok(whole(interleave(&convs)?, interleave(&scans)?))
}

/// `[cases, ..]` of every variant to `[cases * variants, ..]`.
fn interleave(variants: &[Tensor]) -> Result<Tensor, EvaluationError> {
    Ok(Tensor::stack(variants, 1)?.flatten(0, 1)?.contiguous()?)
}

/// How far the states at the end are from those of the whole sequence.
fn end_divergence(
    layer: usize,
    state: &LayerState,
    cases: &[Case<'_, '_>],
    seen: &mut Vec<Observation>,
) -> Result<(), EvaluationError> {
    let ssm = parts(state)?.1.flatten_from(1)?.to_device(&Device::Cpu)?;
    for (index, case) in cases.iter().enumerate() {
        let own = ssm.narrow(0, index * VARIANTS.len(), VARIANTS.len())?;
        let reference = own.narrow(0, 0, 1)?;
        let squares = own.broadcast_sub(&reference)?.sqr()?.sum(1)?.to_vec1::<f32>()?;
        let norm = reference.sqr()?.sum_all()?.to_scalar::<f32>()?;
        for (variant, square) in VARIANTS.into_iter().zip(squares).skip(1) {
            let keys = vec![Key::from(variant.name()), Key::from(case.removed.name()), Key::from(layer)];
            seen.push((case.question.item, "state_divergence", f64::from(square / norm).sqrt(), keys));
        }
    }
    Ok(())
}

fn answers(
    model: &LanguageModel,
    stream: &PackedStream,
    cases: &[Case<'_, '_>],
    seen: &mut Vec<Observation>,
) -> Result<(), EvaluationError> {
    let mut readings = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        for variant in 0..VARIANTS.len() {
            let first = stream.segments.rows(index * VARIANTS.len() + variant).start;
            readings.push(answer_readings(case.question, first, case.position + 1));
        }
    }
    let scores = score(model, &stream.activations, &readings.concat())?;
    let mut scores = scores.as_slice();
    let mut all = Vec::with_capacity(readings.len());
    for readings in &readings {
        let (own, rest) = scores.split_at(readings.len());
        all.push(answer_loss(own, readings));
        scores = rest;
    }
    for (case, answers) in cases.iter().zip(all.chunks(VARIANTS.len())) {
        let dense: AnswerLoss = answers[0];
        for (variant, answer) in VARIANTS.into_iter().zip(answers) {
            let keys = vec![Key::from(variant.name()), Key::from(case.removed.name()), Key::None];
            seen.push((case.question.item, "loss_increase", answer.loss - dense.loss, keys.clone()));
            if dense.right {
                seen.push((case.question.item, "answer_lost", f64::from(u8::from(!answer.right)), keys));
            }
        }
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
