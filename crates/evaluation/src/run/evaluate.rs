//! One task under one protocol and one reduction: items in, scores and traces out.

use std::ops::Range;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use ssm_model::{Activations, LanguageModel};

use super::drive::{Foreseen, foresee, pass};
use super::driven::Passed;
use super::located::located;
use super::reduction::Reduction;
use super::setup::{Settings, Setup};
use crate::batch::{Batch, Layout, Query};
use crate::error::EvaluationError;
use crate::protocol::Scoring;
use crate::score::{After, Answer, Decision, Evaluation, Partial, ScoredTarget, Scorer, Step, Work, score};

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
    let (partial, _) = run_span(setup.model, &layout, layout.whole(), setup.reduction, scorer, settings)?;
    Ok(layout.evaluation([partial]))
}

/// As [`evaluate`], for some consecutive units of a layout. Also says how long it took from packed sequences to scores: planning, all
/// layers, taking the kept rows, and the head, but not what only a record asks for.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_span(
    model: &LanguageModel,
    layout: &Layout,
    span: Range<usize>,
    reduction: &Reduction,
    settings: Settings,
) -> Result<(Partial, Duration), EvaluationError> {
    run_span(model, layout, span, reduction, Scorer::Model(model), settings)
}

fn run_span(
    model: &LanguageModel,
    layout: &Layout,
    span: Range<usize>,
    reduction: &Reduction,
    scorer: Scorer<'_>,
    settings: Settings,
) -> Result<(Partial, Duration), EvaluationError> {
    layout.check(reduction)?;
    let batches = layout.batches(span, settings.max_tokens)?;
    let started = Instant::now();
    let run = |batch: &Batch, foreseen| {
        let (activations, passed) = pass(model, batch, reduction, foreseen)?;
        let (answers, head_rows) =
            answer(scorer, model, layout.scoring, &layout.queries, batch, &activations, &passed)?;
        Ok((passed, answers, head_rows))
    };
    let one = |(batch, foreseen): (Batch, Vec<Foreseen>)| match run(&batch, foreseen) {
        Ok((passed, answers, head_rows)) => Ok(Ran { batch, passed, answers, head_rows }),
        Err(error) => Err(located(model, &batch, reduction, &error).unwrap_or(error)),
    };
    let known = |batch: Batch| {
        let foreseen = foresee(&batch, reduction)?;
        Ok((batch, foreseen))
    };
    // Batches run in parallel and are gathered in order, so no result depends on which ends first. A GPU has one queue of work, so all cores
    // make blind plans before it starts. On a CPU, batches fill all cores.
    let ran: Vec<Ran> = if model.placement().device.is_cpu() {
        batches.into_par_iter().map(|batch| one(known(batch)?)).collect::<Result<_, EvaluationError>>()?
    } else {
        let known: Vec<_> = batches.into_par_iter().map(known).collect::<Result<_, EvaluationError>>()?;
        known.into_iter().map(one).collect::<Result<_, EvaluationError>>()?
    };
    let took = started.elapsed();
    let finished = ran.into_par_iter().map(|ran| ran.finish(model, reduction, settings.recorded_plans));
    let finished: Vec<Finished> = finished.collect::<Result<_, EvaluationError>>()?;
    Ok((finished.into_iter().fold(Partial::default(), Finished::after), took))
}

/// A batch that ran: what it decided and what it scored.
struct Ran {
    batch: Batch,
    passed: Passed,
    answers: Vec<Answer>,
    head_rows: u64,
}

/// The part of a batch in the result: tokens in and kept by segment, in order, and what happened to each sequence at each site.
struct Finished {
    answers: Vec<Answer>,
    tokens: Vec<(usize, u64, u64)>,
    work: Work,
    steps: Vec<(usize, Step)>,
}

impl Ran {
    /// What only a record asks for, after the time of the rule was taken; plans are written down for the first `recorded` items.
    fn finish(
        self,
        model: &LanguageModel,
        reduction: &Reduction,
        recorded: usize,
    ) -> Result<Finished, EvaluationError> {
        let Self { batch, passed, answers, head_rows } = self;
        let driven = passed.driven(model, &batch, reduction)?;
        let item = |segment: usize| batch.table.segments[segment].item as usize;
        let counts = |segment| (batch.segments.length(segment) as u64, driven.segments.length(segment) as u64);
        let tokens = (0..batch.segments.len()).map(|segment| {
            let (tokens_in, kept) = counts(segment);
            (item(segment), tokens_in, kept)
        });
        let mut steps = Vec::new();
        for trace in &driven.sites {
            for (segment, plan) in trace.plan.plans.iter().enumerate() {
                let Some(plan) = plan else { continue };
                let decision = (item(segment) < recorded)
                    .then(|| Decision::new(plan, &trace.arriving.segments[segment].positions));
                let step = Step {
                    site: trace.site,
                    tokens_in: plan.n_tokens() as u64,
                    tokens_out: plan.keep().len() as u64,
                    merged_similarity: trace.merged_similarity[segment],
                    decision,
                };
                steps.push((item(segment), step));
            }
        }
        let work = Work {
            tokens_in: batch.segments.n_tokens() as u64,
            token_layers: driven.token_layers,
            token_pairs: driven.token_pairs,
            block_flops: driven.block_flops,
            head_rows,
            matching_flops: driven.matching_flops,
        };
        Ok(Finished { answers, tokens: tokens.collect(), work, steps })
    }
}

impl Finished {
    /// The result of the batches before it, and of this one.
    fn after(mut partial: Partial, own: Self) -> Partial {
        for (item, tokens_in, kept) in own.tokens {
            match partial.tokens.last_mut().filter(|last| last.0 == item) {
                Some(last) => *last = (item, last.1 + tokens_in, last.2 + kept),
                None => partial.tokens.push((item, tokens_in, kept)),
            }
        }
        partial.work = partial.work + own.work;
        for (item, step) in own.steps {
            partial.traces.add_step(item, step);
        }
        partial.answers.extend(own.answers);
        partial
    }
}

/// Answers the queries of a batch; also returns how many rows the head saw.
fn answer(
    scorer: Scorer<'_>,
    model: &LanguageModel,
    scoring: Scoring,
    queries: &[Query],
    batch: &Batch,
    activations: &Activations,
    passed: &Passed,
) -> Result<(Vec<Answer>, u64), EvaluationError> {
    let positions = passed.positions();
    let after = After { before: &batch.segments, segments: passed.segments(), positions: &positions };
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
        let survivors = positions[placement.segment];
        answers.push(Answer::new(placement.query, &queries[placement.query], own, survivors)?);
    }
    let head_rows = readings.iter().filter(|(_, reading)| reading.row.is_some()).count() as u64;
    Ok((answers, head_rows))
}
