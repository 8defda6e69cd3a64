//! One task under one protocol and one reduction: items in, scores and traces out.

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use ssm_model::{Activations, LanguageModel};

use crate::drive::{Driven, Reduction, drive};
use crate::error::EvaluationError;
use crate::finite::located;
use crate::layout::Layout;
use crate::outcome::Answer;
use crate::partial::{Partial, bits};
use crate::protocol::{After, Batch, Protocol};
use crate::query::Query;
use crate::score::{ScoredTarget, Scorer, score};
use crate::tasks::{Item, TaskKind};
use crate::trace::{ItemPlan, SiteTotals};

/// How an evaluation runs; none of it changes a score (save that `upstream` fixes its own batches).
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Rows of a packed batch, about.
    pub max_tokens: usize,
    /// Items whose plans are recorded.
    pub recorded_plans: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_tokens: 1024, recorded_plans: 0 }
    }
}

/// Scores of one choice (or of the single target).
#[derive(Clone, Debug, PartialEq)]
pub struct ChoiceScore {
    /// Summed log-probability of the scored tokens.
    pub loglikelihood: f64,
    /// Whether every scored token is the greedy one.
    pub greedy: bool,
    /// The scored tokens, ascending.
    pub tokens: Vec<ScoredTarget>,
    /// Tokens of the context, which a target's index does not count.
    pub context_len: usize,
    /// Scored tokens that were asked for; `upstream` may return fewer.
    pub asked: usize,
    /// Of them, those read from the row of their true predecessor.
    pub covered: usize,
}

/// Scores of one item.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemScore {
    /// One entry per choice.
    pub choices: Vec<ChoiceScore>,
    /// Tokens that entered the model for this item.
    pub tokens_in: u64,
    /// Tokens alive after the last layer.
    pub tokens_kept: u64,
    /// Share of the necessary context tokens alive after the last layer, mean over choices; none where none is marked.
    pub necessary_kept: Option<f64>,
}

/// What an evaluation executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Tokens that entered the model.
    pub tokens_in: u64,
    /// Tokens alive in each layer, summed over layers.
    pub token_layers: u64,
    /// Pairs of a token and a token that it sees (itself included), summed over layers: what attention computes, where a model
    /// has some.
    pub token_pairs: u64,
    /// Rows that passed through the head.
    pub head_rows: u64,
    /// FLOPs of similarity matching.
    #[serde(with = "bits")]
    pub matching_flops: f64,
}

impl std::ops::Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tokens_in: self.tokens_in + other.tokens_in,
            token_layers: self.token_layers + other.token_layers,
            token_pairs: self.token_pairs + other.token_pairs,
            head_rows: self.head_rows + other.head_rows,
            matching_flops: self.matching_flops + other.matching_flops,
        }
    }
}

impl Work {
    /// FLOPs counted from the shapes that ran: blocks, attention over real lengths, matching and head rows (an embedding look-up
    /// costs none), from those of a token in a layer, of a pair of tokens and of a row in the head
    /// (`ModelConfig::layer_flops_per_token`, `attention_flops_per_pair`, `head_flops_per_row`).
    #[must_use]
    pub fn flops(&self, per_token_layer: f64, per_pair: f64, per_head_row: f64) -> f64 {
        self.token_layers as f64 * per_token_layer
            + self.token_pairs as f64 * per_pair
            + self.head_rows as f64 * per_head_row
            + self.matching_flops
    }

    /// Achieved reduction in the nominal convention: 1 - tokens alive per layer / tokens that entered.
    #[must_use]
    pub fn flops_reduction(&self, n_layer: usize) -> f64 {
        if self.tokens_in == 0 {
            0.0
        } else {
            1.0 - self.token_layers as f64 / (self.tokens_in * n_layer as u64) as f64
        }
    }
}

/// Result of [`evaluate`].
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Scores, in item order.
    pub items: Vec<ItemScore>,
    /// What happened at each site, in layer order.
    pub sites: Vec<SiteTotals>,
    /// Plans of the first items.
    pub plans: Vec<ItemPlan>,
    /// What was executed.
    pub work: Work,
}

/// What an evaluation is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The model.
    pub model: &'a LanguageModel,
    /// How the items are scored.
    pub kind: TaskKind,
    /// The items.
    pub items: &'a [Item],
    /// From which rows scores are read.
    pub protocol: Protocol,
    /// Which tokens leave.
    pub reduction: &'a Reduction,
}

/// Scores the items with the model under the protocol while the reduction shortens the sequences.
///
/// # Errors
/// A model, strategy or operation that refuses its input, or scores that are not finite.
pub fn evaluate(setup: &Setup<'_>, settings: Settings) -> Result<Evaluation, EvaluationError> {
    run(setup, Scorer::Model(setup.model), settings)
}

/// As [`evaluate`], with an oracle in place of the model's head: the plans are the model's, but every surviving row is
/// certain of the true successor of its token. A protocol that reads the right rows gives it a perfect score.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_oracle(setup: &Setup<'_>, settings: Settings) -> Result<Evaluation, EvaluationError> {
    run(setup, Scorer::Oracle, settings)
}

fn run(setup: &Setup<'_>, scorer: Scorer<'_>, settings: Settings) -> Result<Evaluation, EvaluationError> {
    let layout = Layout::new(setup.kind, setup.items, setup.protocol);
    let partial = run_span(setup.model, &layout, layout.whole(), setup.reduction, scorer, settings)?;
    Ok(layout.evaluation([partial]))
}

/// As [`evaluate`], for some consecutive units of a layout.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_span(
    model: &LanguageModel,
    layout: &Layout,
    span: Range<usize>,
    reduction: &Reduction,
    settings: Settings,
) -> Result<Partial, EvaluationError> {
    run_span(model, layout, span, reduction, Scorer::Model(model), settings)
}

fn run_span(
    model: &LanguageModel,
    layout: &Layout,
    span: Range<usize>,
    reduction: &Reduction,
    scorer: Scorer<'_>,
    settings: Settings,
) -> Result<Partial, EvaluationError> {
    layout.check(reduction)?;
    let mut partial = Partial::default();
    // Batches run beside each other and are gathered in order: no result depends on which one ends first.
    let run = |batch: &Batch| {
        let (activations, driven) = drive(model, batch, reduction)?;
        let (answers, head_rows) =
            answer(scorer, model, layout.protocol, &layout.queries, batch, &activations, &driven)?;
        Ok((driven, answers, head_rows))
    };
    let one = |batch: Batch| match run(&batch) {
        Ok((driven, answers, head_rows)) => Ok(Ran { batch, driven, answers, head_rows }),
        Err(error) => Err(located(model, &batch, reduction, &error).unwrap_or(error)),
    };
    let batches = layout.batches(span, settings.max_tokens)?;
    // A GPU has one queue of work; on the CPU batches fill all cores.
    let batches: Vec<Ran> = if model.placement().device.is_cpu() {
        batches.into_par_iter().map(one).collect::<Result<_, EvaluationError>>()?
    } else {
        batches.into_iter().map(one).collect::<Result<_, EvaluationError>>()?
    };
    for Ran { batch, driven, answers, head_rows } in batches {
        for segment in 0..batch.segments.len() {
            let item = batch.table.segments[segment].item as usize;
            let (tokens_in, kept) = (batch.segments.length(segment) as u64, driven.segments.length(segment) as u64);
            match partial.tokens.last_mut().filter(|last| last.0 == item) {
                Some(last) => *last = (item, last.1 + tokens_in, last.2 + kept),
                None => partial.tokens.push((item, tokens_in, kept)),
            }
        }
        partial.work = partial.work
            + Work {
                tokens_in: batch.segments.n_tokens() as u64,
                token_layers: driven.token_layers,
                token_pairs: driven.token_pairs,
                head_rows,
                matching_flops: driven.matching_flops,
            };
        partial.traces.add(&batch, &driven, settings.recorded_plans);
        partial.answers.extend(answers);
    }
    Ok(partial)
}

/// A batch that ran: what it decided and what it scored.
struct Ran {
    batch: Batch,
    driven: Driven,
    answers: Vec<Answer>,
    head_rows: u64,
}

/// Answers the queries of a batch; also returns how many rows the head saw.
fn answer(
    scorer: Scorer<'_>,
    model: &LanguageModel,
    protocol: Protocol,
    queries: &[Query],
    batch: &Batch,
    activations: &Activations,
    driven: &Driven,
) -> Result<(Vec<Answer>, u64), EvaluationError> {
    let after = After { before: &batch.segments, segments: &driven.segments, table: &driven.table };
    let mut readings = Vec::new();
    let mut counts = Vec::with_capacity(batch.placements.len());
    for placement in &batch.placements {
        let query = &queries[placement.query];
        let own = protocol.readings(query, placement, &after)?;
        counts.push(own.len());
        readings.extend(own.into_iter().map(|reading| (query, reading)));
    }
    let mut scores = score(scorer, model.config().vocab_size, activations, &readings)?.into_iter();
    let mut answers = Vec::with_capacity(batch.placements.len());
    for (placement, count) in batch.placements.iter().zip(counts) {
        let own: Vec<ScoredTarget> = scores.by_ref().take(count).collect();
        let survivors = &driven.table.segments[placement.segment].positions;
        answers.push(Answer::new(placement.query, &queries[placement.query], own, survivors)?);
    }
    let head_rows = readings.iter().filter(|(_, reading)| reading.row.is_some()).count() as u64;
    Ok((answers, head_rows))
}
