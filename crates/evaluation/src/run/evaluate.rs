//! One task under one protocol and one reduction: items in, scores and traces out.

use std::ops::Range;

use rayon::prelude::*;
use ssm_model::{Activations, LanguageModel};

use super::drive::drive;
use super::driven::Driven;
use super::located::located;
use super::reduction::Reduction;
use super::setup::{Settings, Setup};
use crate::batch::{Batch, Layout, Query};
use crate::error::EvaluationError;
use crate::protocol::Scoring;
use crate::score::{After, Answer, Decision, Evaluation, Partial, ScoredTarget, Scorer, Step, Traces, Work, score};

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
    let layout = Layout::new(setup.kind, setup.items, setup.scoring);
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
            answer(scorer, model, layout.scoring, &layout.queries, batch, &activations, &driven)?;
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
                block_flops: driven.block_flops,
                head_rows,
                matching_flops: driven.matching_flops,
            };
        record(&mut partial.traces, &batch, &driven, settings.recorded_plans);
        partial.answers.extend(answers);
    }
    Ok(partial)
}

/// Adds all sequences of a batch to the record; the plans of the first `recorded` items are kept.
fn record(traces: &mut Traces, batch: &Batch, driven: &Driven, recorded: usize) {
    for trace in &driven.sites {
        for (segment, plan) in trace.plan.plans.iter().enumerate() {
            let Some(plan) = plan else { continue };
            let item = batch.table.segments[segment].item as usize;
            let positions = &trace.arriving.segments[segment].positions;
            let step = Step {
                site: trace.site,
                tokens_in: plan.n_tokens() as u64,
                tokens_out: plan.keep().len() as u64,
                merged_similarity: trace.merged_similarity[segment],
                decision: (item < recorded).then(|| Decision::new(plan, positions)),
            };
            traces.add_step(item, &step, recorded);
        }
    }
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
    scoring: Scoring,
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
        let own = scoring.readings(query, placement, &after)?;
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
