//! One cell: a trial on a task, from model and items to its record.

use std::collections::BTreeSet;
use std::time::Instant;

use evaluation::metrics::{self, Aggregate as MetricAggregate};
use evaluation::tasks::Task;
use evaluation::{Evaluation, EvaluationError, Protocol, Reduction, Setup};
use ssm_model::MambaLm;

use super::batch::BatchRows;
use super::memory;
use crate::config::{self, Experiment};
use crate::library::Library;
use crate::plan::{Cell, PlannedTrial};
use crate::record::schema::{
    Aggregate, CellRecord, CostRecord, ItemRecord, MetricRecord, PlanItem, PlanRecord, SCHEMA_VERSION, SiteRecord,
    Status,
};

/// Items per cell whose plans are recorded: enough for token maps and overlaps, little beside the scores.
pub(super) const RECORDED_PLANS: usize = 4;

/// The protocol of a trial as the evaluation knows it.
pub(crate) fn protocol(experiment: &Experiment, name: &str) -> Protocol {
    match name {
        "context" => Protocol::Context,
        "aligned" => Protocol::Aligned,
        "causal" => Protocol::Causal,
        "upstream" => Protocol::Upstream { batch_size: experiment.upstream_batch_size },
        other => unreachable!("the configuration knows no protocol `{other}` (of {:?})", config::PROTOCOLS),
    }
}

/// The reduction of a trial.
pub(crate) fn reduction(trial: &PlannedTrial) -> Reduction {
    Reduction {
        rule: trial.strategy.rule(),
        keep_ratio: trial.key.keep_ratio,
        sites: trial.key.sites.clone(),
        seed: trial.key.seed,
    }
}

/// What a cell's record is made from, besides its scores.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) experiment: &'a Experiment,
    pub(super) model: &'a MambaLm,
    pub(super) library: &'a Library,
    pub(super) batch: &'a BatchRows,
}

/// Evaluates one cell by itself; a failure becomes a record with its error.
pub(super) fn evaluate_cell(context: Context<'_>, trial: &PlannedTrial, cell: &Cell, task: &Task) -> CellRecord {
    memory::reset_peak();
    let started = Instant::now();
    let protocol = protocol(context.experiment, &trial.key.protocol);
    let reduction = reduction(trial);
    let setup = Setup { model: context.model, kind: task.kind, items: &task.items, protocol, reduction: &reduction };
    let result = context.batch.evaluate(&setup, RECORDED_PLANS);
    record(context, trial, cell, task, result.as_ref(), started.elapsed().as_secs_f64())
}

/// The record of a cell. `wall_s`: the time that it took, or its share where cells were run together.
pub(super) fn record(
    context: Context<'_>,
    trial: &PlannedTrial,
    cell: &Cell,
    task: &Task,
    result: Result<&Evaluation, &EvaluationError>,
    wall_s: f64,
) -> CellRecord {
    let mut record = CellRecord {
        schema_version: SCHEMA_VERSION,
        cell_id: cell.cell_id.clone(),
        trial: trial.key.clone(),
        task: task.name.clone(),
        primary_metric: task.primary_metric.to_owned(),
        status: Status::Done,
        error: None,
        cost: CostRecord::default(),
        metrics: Vec::new(),
        items: Vec::new(),
        sites: Vec::new(),
        plans: Vec::new(),
        plan_items: Vec::new(),
        notes: std::collections::BTreeMap::new(),
    };
    match result {
        Ok(evaluation) => fill(&mut record, evaluation, context.model, task, context.library, wall_s),
        Err(error) => fail(&mut record, error),
    }
    record
}

fn fail(record: &mut CellRecord, error: &EvaluationError) {
    record.status = Status::Failed;
    record.error = Some(error.to_string());
}

fn fill(
    record: &mut CellRecord,
    evaluation: &Evaluation,
    model: &MambaLm,
    task: &Task,
    library: &Library,
    wall_s: f64,
) {
    let work = &evaluation.work;
    record.cost = CostRecord {
        flops_reduction_achieved: work.flops_reduction(model.config().n_layer),
        flops_executed: work.flops(model.config()),
        tokens_in: work.tokens_in,
        tokens_per_s: work.tokens_in as f64 / wall_s.max(1e-9),
        peak_mem_bytes: memory::peak_bytes_of(&model.placement().device),
        wall_s,
    };
    record.metrics = metrics::metrics(task.kind, &task.items, &evaluation.items)
        .into_iter()
        .map(|metric| MetricRecord {
            metric: metric.name.to_owned(),
            aggregate: match metric.aggregate {
                MetricAggregate::Mean => Aggregate::Mean,
                MetricAggregate::ExpNegMean => Aggregate::ExpNegMean,
            },
            contributions: metric.contributions,
        })
        .collect();
    record.items = task
        .items
        .iter()
        .zip(&evaluation.items)
        .map(|(item, score)| {
            let (asked, covered) = score
                .choices
                .iter()
                .fold((0, 0), |(asked, covered), choice| (asked + choice.asked, covered + choice.covered));
            ItemRecord {
                item_id: item.id.clone(),
                gold: item.gold,
                predicted: metrics::predicted(item, score),
                correct: metrics::correct(task.kind, item, score),
                loglikelihoods: score.choices.iter().map(|choice| choice.loglikelihood).collect(),
                greedy: score.choices.iter().map(|choice| choice.greedy).collect(),
                tokens_in: score.tokens_in,
                tokens_kept: score.tokens_kept,
                necessary_kept: score.necessary_kept,
                coverage: if asked == 0 { 1.0 } else { covered as f64 / asked as f64 },
            }
        })
        .collect();
    record.sites = evaluation
        .sites
        .iter()
        .map(|site| SiteRecord {
            site: site.site,
            tokens_in: site.tokens_in,
            tokens_out: site.tokens_out,
            merged_similarity: site.merged_similarity,
        })
        .collect();
    record.plans = evaluation
        .plans
        .iter()
        .map(|plan| PlanRecord {
            item: plan.item,
            site: plan.site,
            kept: plan.kept.clone(),
            dropped: plan.dropped.clone(),
            merged: plan.merged.clone(),
        })
        .collect();
    record.plan_items = plan_items(record, task, library);
}

/// Tokens of the items whose plans are recorded: the first context, and its first continuation where the protocol
/// reduces that too.
fn plan_items(record: &CellRecord, task: &Task, library: &Library) -> Vec<PlanItem> {
    let items: BTreeSet<usize> = record.plans.iter().map(|plan| plan.item).collect();
    items
        .into_iter()
        .map(|index| {
            let item = &task.items[index];
            let context = &item.contexts[0];
            let whole = record.trial.protocol != "context";
            let continuation = item.requests.first().filter(|_| whole).map_or(&[][..], |request| &request.continuation);
            let tokens = context.tokens.iter().chain(continuation);
            PlanItem {
                item: index,
                tokens: tokens.map(|token| library.token_text(&record.trial.model, *token)).collect(),
                necessary: context.necessary.clone(),
            }
        })
        .collect()
}
