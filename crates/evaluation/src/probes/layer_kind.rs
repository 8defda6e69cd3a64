//! Probe `layer_kind`: who is missed when tokens are removed, the attention layers that would read them or the scans that would hold them?
//!
//! Some context tokens are hidden after one layer from the later tokens, in the layers of one kind or of both:
//!
//! | `hidden_from` | attention layers of later tokens | states of scans, inputs of their convolutions |
//! |---|---|---|
//! | `nothing` | read the tokens | hold the tokens |
//! | `attention` | do not read them, nor does the convolution before the attention | hold them |
//! | `ssm` | read them | do not hold them |
//! | `both` | do not read them | do not hold them: what pruning does |
//!
//! No layer is changed for this. Who reads whom follows from the table of segments alone, and each layer is called with the one for its kind:
//! the sequence is one segment where nothing is hidden. Where tokens are hidden, each of them is a segment without children, and the
//! tokens between them are a chain that passes them by. The rows are the same in both tables. A hidden token still runs through all
//! layers, reading what comes before it; the layers that may read it see these rows.

use ssm_kernels::Segments;
use ssm_model::{LanguageModel, LayerConfig, LayerKind};

use super::columns::REMOVED;
use super::passes::{Observation, answer_readings, answers, embed, in_groups, rows_of, through};
use super::questions::{Question, Removed, questions};
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, SITE_DEPTH, Subject, Values, items};
use crate::error::EvaluationError;
use crate::run::{Check, LayerInput, RowTokens, Wanted, run_layer};
use reduction_strategies::options::{OptionDefault, OptionInfo, OptionKind};

const TOKENS: OptionInfo = OptionInfo {
    name: "tokens",
    kind: OptionKind::Integer { min: 1, max: 1000 },
    default: OptionDefault::Integer(10),
    help: "tokens that are hidden at once where an item marks no necessary ones; else as many as it marks",
};

pub(super) static PROBE: Probe = Probe {
    name: "layer_kind",
    version: 1,
    question: "Of removed tokens, what is missed: that attention layers read them, or that the states of scans hold them?",
    formula: "the answer with some tokens hidden from one kind of layers after the site; loss_increase: its loss minus that of the whole sequence",
    columns: &[
        Column {
            name: "hidden_from",
            help: "attention, ssm (scans and their convolutions), both (pruning), nothing",
            values: Values::Words(&["nothing", "attention", "ssm", "both"]),
        },
        Column {
            name: "removed",
            help: "necessary: all tokens that the answer needs; other: as many others, by chance",
            values: REMOVED,
        },
    ],
    measures: &[
        Measure { name: "correct", unit: "share", help: "answers of which every scored token is the greedy one" },
        Measure { name: "answer_lost", unit: "share", help: "answers that were the greedy ones and are no more" },
        Measure { name: "loss_increase", unit: "nats per scored token", help: "of the answer" },
        Measure { name: "tokens", unit: "tokens", help: "hidden in an item" },
    ],
    options: &[items(200), SITE_DEPTH, TOKENS],
    subject: Subject::Model,
    needs: Needs { separate_kinds: true, ..Needs::NOTHING },
    cost: "seven passes of each item through the layers after the site",
    run,
};

/// From which layers the tokens are hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arm {
    Nothing,
    Attention,
    Ssm,
    Both,
}

/// Those that hide something.
const HIDING: [Arm; 3] = [Arm::Attention, Arm::Ssm, Arm::Both];

impl Arm {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Attention => "attention",
            Self::Ssm => "ssm",
            Self::Both => "both",
        }
    }

    fn hides_from(self, reader: Reader) -> bool {
        match reader {
            Reader::Attention => matches!(self, Self::Attention | Self::Both),
            Reader::Ssm => matches!(self, Self::Ssm | Self::Both),
        }
    }
}

/// What reads tokens in a layer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Attention,
    Ssm,
}

impl Reader {
    fn of(layer: &LayerConfig) -> Self {
        // The plan leaves out models with both in one layer. An MLP reads no other row: either table will do.
        if layer.kinds().contains(&LayerKind::Attention) { Self::Attention } else { Self::Ssm }
    }
}

/// Tokens of a question that are hidden together.
struct Case<'q, 'a> {
    question: &'q Question<'a>,
    positions: Vec<usize>,
    removed: Removed,
}

/// One stream of a question: nothing is hidden, or the tokens of a case from some layers.
struct Copy {
    question: usize,
    /// Index of the case, none of the whole sequence.
    case: Option<usize>,
    arm: Arm,
}

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let (model, site, tokens) = (setup.model, setup.site(), setup.options.integer("tokens") as usize);
    let copies = 1 + 2 * HIDING.len();
    in_groups(model, &questions(setup.items), copies, |group| look(model, site, tokens, setup.seed, group))
}

/// The tokens that are hidden: all necessary ones, and as many others.
fn cases<'q, 'a>(question: &'q Question<'a>, tokens: usize, seed: u64) -> Vec<Case<'q, 'a>> {
    let marked = question.marks().iter().skip(1).filter(|mark| **mark).count();
    let count = if marked > 0 { marked } else { tokens };
    let chosen = question.tokens_to_remove(seed, count);
    [Removed::Necessary, Removed::Other]
        .into_iter()
        .filter_map(|removed| {
            let of_kind = chosen.iter().filter(|(_, kind)| *kind == removed);
            let positions: Vec<usize> = of_kind.map(|(position, _)| *position).collect();
            (!positions.is_empty()).then_some(Case { question, positions, removed })
        })
        .collect()
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
    let (mut all_cases, mut copies) = (Vec::new(), Vec::new());
    for (index, question) in group.iter().enumerate() {
        copies.push(Copy { question: index, case: None, arm: Arm::Nothing });
        for case in cases(question, tokens, seed) {
            let of_case = |arm| Copy { question: index, case: Some(all_cases.len()), arm };
            copies.extend(HIDING.map(of_case));
            all_cases.push(case);
        }
    }
    let (mut rows, mut positions) = (Vec::new(), Vec::new());
    for copy in &copies {
        let own = arriving.segments.rows(copy.question);
        positions.extend(0..own.len() as u32);
        rows.extend(own.map(|row| row as u32));
    }
    let seen_by = |reader: Reader| {
        let (mut lengths, mut parents) = (Vec::new(), Vec::new());
        for copy in &copies {
            let hidden = copy.case.filter(|_| copy.arm.hides_from(reader)).map(|case| &all_cases[case].positions);
            let n = arriving.segments.length(copy.question);
            add_segments(n, hidden.map_or(&[], Vec::as_slice), &mut lengths, &mut parents);
        }
        Segments::new(&lengths, &parents)
    };
    let (attention, ssm) = (seen_by(Reader::Attention)?, seen_by(Reader::Ssm)?);
    let tokens = RowTokens::at(model, positions);
    let mut activations = rows_of(&arriving.activations, &rows)?;
    for layer in site + 1..model.config().n_layer() {
        let segments = match Reader::of(&model.config().layers[layer]) {
            Reader::Attention => &attention,
            Reader::Ssm => &ssm,
        };
        let input = LayerInput { activations: &activations, segments, tokens: &tokens, initial: None, gather: None };
        let wanted = Wanted { check: Check::Sequences, ..Wanted::default() };
        activations = run_layer(model, layer, input, wanted)?.activations;
    }
    let mut first = 0;
    let mut readings = Vec::with_capacity(copies.len());
    for copy in &copies {
        readings.push(answer_readings(&group[copy.question], first, 0));
        first += arriving.segments.length(copy.question);
    }
    let answers = answers(model, &activations, &readings)?;
    let mut seen: Vec<Observation> = Vec::new();
    let mut whole = answers[0];
    for (copy, answer) in copies.iter().zip(&answers) {
        let Some(case) = copy.case.map(|case| &all_cases[case]) else {
            whole = *answer;
            continue;
        };
        let item = case.question.item;
        let share = |yes: bool| f64::from(u8::from(yes));
        let mut see = |arm: Arm, measure, value| {
            seen.push((item, measure, value, vec![Key::from(arm.name()), Key::from(case.removed.name())]));
        };
        if copy.arm == HIDING[0] {
            see(Arm::Nothing, "correct", share(whole.right));
            see(Arm::Nothing, "tokens", case.positions.len() as f64);
        }
        see(copy.arm, "correct", share(answer.right));
        see(copy.arm, "loss_increase", answer.loss - whole.loss);
        if whole.right {
            see(copy.arm, "answer_lost", share(!answer.right));
        }
    }
    Ok(seen)
}

/// The segments of one sequence of `n` rows: each hidden row a segment without children, the rows between them a chain.
fn add_segments(n: usize, hidden: &[usize], lengths: &mut Vec<usize>, parents: &mut Vec<Option<usize>>) {
    let (mut start, mut last) = (0, None);
    for end in hidden.iter().copied().chain([n]) {
        if end > start {
            parents.push(last);
            last = Some(lengths.len());
            lengths.push(end - start);
        }
        if end < n {
            parents.push(last);
            lengths.push(1);
        }
        start = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::Tensor;
    use reduction_strategies::{HostRule, Plan, PlanError, Rule, SequenceView};
    use ssm_model::{KeyValueCache, LayerState, ModelConfig, Placement, RandomWeights, RecurrentState, catalog};

    use super::*;
    use crate::probes::passes::rows_of;
    use crate::probes::questions::tests::item;
    use crate::protocol::CONTEXT;
    use crate::run::PackedStream;
    use crate::tasks::{Item, TaskKind};
    use crate::{Reduction, Settings, Setup, evaluate};

    /// Six layers of Mamba-2 and attention with a convolution before it and half of the channels turned, with random weights.
    fn hybrid() -> LanguageModel {
        let config = ModelConfig::from_json(
            r#"{"d_model": 32, "d_intermediate": 0, "n_layer": 6, "vocab_size": 96,
                "ssm_cfg": {"layer": "Mamba2", "d_state": 8, "headdim": 16, "ngroups": 1},
                "attn_layer_idx": [2, 4],
                "attn_cfg": {"causal": true, "d_conv": 4, "head_dim": 16, "num_heads": 2, "rotary_emb_dim": 8,
                             "qkv_proj_bias": false, "out_proj_bias": false},
                "rms_norm": true, "residual_in_fp32": true, "fused_add_norm": true, "pad_vocab_size_multiple": 8,
                "tie_embeddings": true}"#,
        )
        .unwrap();
        LanguageModel::load(&config, &mut RandomWeights { seed: 3 }, &Placement::cpu()).unwrap()
    }

    fn builtin(name: &str) -> LanguageModel {
        let checkpoint = catalog::builtin(name).unwrap().open().unwrap();
        let mut weights = checkpoint.weights;
        LanguageModel::load(&checkpoint.config, &mut weights, &Placement::cpu()).unwrap()
    }

    fn items_of(necessary: Vec<u32>) -> [Item; 1] {
        [item(vec![12, 40, 7, 93, 51, 28, 64, 30, 5, 77], necessary, vec![17, 9])]
    }

    fn loss_increase(seen: &[Observation], arm: Arm) -> f64 {
        let keys = vec![Key::from(arm.name()), Key::from("necessary")];
        seen.iter().find(|seen| seen.1 == "loss_increase" && seen.3 == keys).unwrap().2
    }

    #[test]
    fn segments_by_hand() {
        let of = |n, hidden: &[usize]| {
            let (mut lengths, mut parents) = (Vec::new(), Vec::new());
            add_segments(n, hidden, &mut lengths, &mut parents);
            (lengths, parents)
        };
        assert_eq!(of(5, &[]), (vec![5], vec![None]));
        assert_eq!(of(5, &[2]), (vec![2, 1, 2], vec![None, Some(0), Some(0)]));
        assert_eq!(of(6, &[2, 3]), (vec![2, 1, 1, 2], vec![None, Some(0), Some(0), Some(0)]));
        assert_eq!(of(7, &[1, 4]), (vec![1, 1, 2, 1, 2], vec![None, Some(0), Some(0), Some(2), Some(2)]));
    }

    /// Drops some tokens.
    #[derive(Debug)]
    struct Drop(Vec<u32>);

    impl HostRule for Drop {
        fn kept(&self, _: usize, n: usize) -> usize {
            n - self.0.len()
        }

        fn plan(&self, view: &SequenceView<'_>, _: usize) -> Result<Plan, PlanError> {
            Plan::prune(view.len(), (0..view.len() as u32).filter(|row| !self.0.contains(row)).collect())
        }
    }

    /// What is hidden from every layer is what a strategy drops, on a hybrid and on both of its ends.
    #[test]
    fn hidden_from_both_is_pruning() {
        for (name, model) in
            [("hybrid", hybrid()), ("mamba2", builtin("mamba2-world")), ("neox", builtin("neox-world"))]
        {
            let necessary = vec![3, 4, 7];
            let items = items_of(necessary.clone());
            let seen = look(&model, 1, 1, 0, &questions(&items)).unwrap();
            let loss = |rule: Rule| {
                let reduction = Reduction { rule, keep_ratio: 0.9, sites: vec![1], ..Reduction::dense() };
                let scoring = CONTEXT.defaults();
                let setup =
                    Setup { model: &model, kind: TaskKind::Target, items: &items, scoring, reduction: &reduction };
                -evaluate(&setup, Settings::default()).unwrap().items[0].choices[0].loglikelihood / 2.0
            };
            let pruned = loss(Rule::Host(Arc::new(Drop(necessary)))) - loss(Rule::Identity);
            let got = loss_increase(&seen, Arm::Both);
            assert!((got - pruned).abs() < 1e-4, "{name}: {got} {pruned}");
            assert!(pruned.abs() > 1e-4, "{name}: the tokens matter");
        }
    }

    /// Where a model has no layers of a kind, hiding from it changes no bit, and hiding from the other kind is hiding from both.
    #[test]
    fn a_kind_that_is_not_there_misses_nothing() {
        let items = items_of(vec![3, 7]);
        for (name, absent, present) in [
            ("mamba2-world", Arm::Attention, Arm::Ssm),
            ("mamba-world", Arm::Attention, Arm::Ssm),
            ("neox-world", Arm::Ssm, Arm::Attention),
        ] {
            let seen = look(&builtin(name), 1, 1, 0, &questions(&items)).unwrap();
            assert_eq!(loss_increase(&seen, absent).to_bits(), 0.0_f64.to_bits(), "{name}");
            let (one, both) = (loss_increase(&seen, present), loss_increase(&seen, Arm::Both));
            assert!(one.to_bits() == both.to_bits() && one.abs() > 1e-4, "{name}: {one} {both}");
        }
    }

    /// One hidden token by another way: states are values, and the tokens after it continue from those before it or from its own, layer by
    /// layer.
    #[test]
    fn one_hidden_token_is_a_choice_of_states() {
        let (model, site, position) = (hybrid(), 1, 4);
        let items = items_of(vec![position as u32]);
        let questions = questions(&items);
        let question = &questions[0];
        let seen = look(&model, site, 1, 0, &questions).unwrap();
        let inputs = question.inputs();
        let n = inputs.len();
        let loss = |arm: Arm| {
            let arriving = through(&model, embed(&model, std::slice::from_ref(&inputs)).unwrap(), 0..site + 1).unwrap();
            let rows = |range: std::ops::Range<usize>| {
                let rows: Vec<u32> = range.map(|row| row as u32).collect();
                rows_of(&arriving.activations, &rows).unwrap()
            };
            let segments = Segments::new(&[position, 1], &[None, Some(0)]).unwrap();
            let mut front = PackedStream::new(rows(0..position + 1), segments, RowTokens::untouched());
            let behind_positions = (position as u32 + 1..n as u32).collect();
            let mut behind = PackedStream::new(
                rows(position + 1..n),
                Segments::independent(&[n - position - 1]),
                RowTokens::at(&model, behind_positions),
            );
            for layer in site + 1..model.config().n_layer() {
                let wanted = Wanted { states: true, ..Wanted::default() };
                let output = run_layer(&model, layer, front.input(), wanted).unwrap();
                let hides = arm.hides_from(Reader::of(&model.config().layers[layer]));
                let initial = state_of(output.state.as_ref().unwrap(), u32::from(!hides));
                front.activations = output.activations;
                let input = LayerInput { initial: Some(&initial), ..behind.input() };
                behind.activations = run_layer(&model, layer, input, Wanted::default()).unwrap().activations;
            }
            let readings = answer_readings(question, 0, position + 1);
            answers(&model, &behind.activations, &[readings]).unwrap()[0].loss
        };
        let whole = loss(Arm::Nothing);
        for arm in HIDING {
            let (got, want) = (loss_increase(&seen, arm), loss(arm) - whole);
            assert!((got - want).abs() < 1e-5, "{arm:?}: {got} {want}");
            assert!(want.abs() > 1e-5, "{arm:?} hides something");
        }
        let [attention, ssm, both] = HIDING.map(|arm| loss_increase(&seen, arm));
        assert!(attention.to_bits() != both.to_bits() && ssm.to_bits() != both.to_bits());
    }

    /// The state after one of two segments.
    fn state_of(state: &LayerState, segment: u32) -> LayerState {
        let one = |tensor: &Tensor| tensor.narrow(0, segment as usize, 1).unwrap().contiguous().unwrap();
        match state {
            LayerState::Recurrent(state) => {
                LayerState::Recurrent(RecurrentState { conv: one(&state.conv), ssm: one(&state.ssm) })
            }
            LayerState::Attention(cache) => LayerState::Attention(KeyValueCache {
                segments: vec![cache.segments[segment as usize].clone()],
                next_positions: vec![cache.next_positions[segment as usize]],
                conv: cache.conv.as_ref().map(one),
            }),
            LayerState::Both(..) | LayerState::Stateless => panic!("layers of one kind"),
        }
    }
}
