//! One task under one protocol and one reduction: items in, scores and traces out.

use rayon::prelude::*;
use ssm_model::{Activations, MambaLm};

use crate::drive::{Driven, Reduction, drive};
use crate::error::EvaluationError;
use crate::outcome::{Choice, collect};
use crate::protocol::{After, Batch, Protocol};
use crate::query::{Query, queries};
use crate::score::{ScoredTarget, Scorer, score};
use crate::tasks::{Item, TaskKind};
use crate::trace::{ItemPlan, SiteTotals, Traces};

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
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Tokens that entered the model.
    pub tokens_in: u64,
    /// Tokens alive in each layer, summed over layers.
    pub token_layers: u64,
    /// Rows that passed through the head.
    pub head_rows: u64,
    /// FLOPs of similarity matching.
    pub matching_flops: f64,
}

impl Work {
    /// FLOPs counted from the shapes that ran: blocks, matching and head rows (an embedding look-up costs none).
    #[must_use]
    pub fn flops(&self, config: &ssm_model::ModelConfig) -> f64 {
        self.token_layers as f64 * config.layer_flops_per_token()
            + self.head_rows as f64 * config.head_flops_per_row()
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
    pub model: &'a MambaLm,
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
    let Setup { model, kind, items, protocol, reduction } = *setup;
    protocol.check(reduction)?;
    let queries = queries(kind, items, protocol);
    let mut choices: Vec<Option<Choice>> = vec![None; queries.len()];
    let mut work = Work::default();
    let mut traces = Traces::new(settings.recorded_plans);
    let mut tokens = vec![(0_u64, 0_u64); items.len()];
    // Batches run beside each other and are gathered in order: no result depends on which one ends first.
    let one = |batch: Batch| {
        let (activations, driven) = drive(model, &batch, reduction)?;
        let (choices, head_rows) = answer(scorer, model, protocol, &queries, &batch, &activations, &driven)?;
        Ok(Ran { batch, driven, choices, head_rows })
    };
    let batches = protocol.layout(&queries, settings.max_tokens)?;
    // A GPU has one queue of work; on the CPU batches fill all cores.
    let batches: Vec<Ran> = if model.placement().device.is_cpu() {
        batches.into_par_iter().map(one).collect::<Result<_, EvaluationError>>()?
    } else {
        batches.into_iter().map(one).collect::<Result<_, EvaluationError>>()?
    };
    for Ran { batch, driven, choices: answered, head_rows } in batches {
        for segment in 0..batch.segments.len() {
            let counts = &mut tokens[batch.table.segments[segment].item as usize];
            counts.0 += batch.segments.length(segment) as u64;
            counts.1 += driven.segments.length(segment) as u64;
        }
        work.tokens_in += batch.segments.n_tokens() as u64;
        work.token_layers += driven.token_layers;
        work.matching_flops += driven.matching_flops;
        work.head_rows += head_rows;
        traces.add(&batch, &driven);
        for (query, choice) in answered {
            choices[query] = Some(choice);
        }
    }
    Ok(Evaluation { items: collect(&queries, choices, &tokens), sites: traces.sites(), plans: traces.plans(), work })
}

/// A batch that ran: what it decided and what it scored.
struct Ran {
    batch: Batch,
    driven: Driven,
    choices: Vec<(usize, Choice)>,
    head_rows: u64,
}

/// Scores the queries of a batch, by query; also returns how many rows the head saw.
fn answer(
    scorer: Scorer<'_>,
    model: &MambaLm,
    protocol: Protocol,
    queries: &[Query],
    batch: &Batch,
    activations: &Activations,
    driven: &Driven,
) -> Result<(Vec<(usize, Choice)>, u64), EvaluationError> {
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
    let mut choices = Vec::with_capacity(batch.placements.len());
    for (placement, count) in batch.placements.iter().zip(counts) {
        let own: Vec<ScoredTarget> = scores.by_ref().take(count).collect();
        let survivors = &driven.table.segments[placement.segment].positions;
        choices.push((placement.query, Choice::new(&queries[placement.query], own, survivors)?));
    }
    let head_rows = readings.iter().filter(|(_, reading)| reading.row.is_some()).count() as u64;
    Ok((choices, head_rows))
}
