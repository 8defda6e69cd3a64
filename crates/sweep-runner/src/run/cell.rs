//! One cell: a trial on a task, from model and items to its record.

use analysis::median;
use std::collections::{BTreeMap, BTreeSet};

use evaluation::metrics;
use evaluation::protocol::{self, Scope};
use evaluation::tasks::Task;
use evaluation::{Evaluation, Reduction, Scoring};
use records::schema::{
    CellRecord, CostRecord, FIRST_PLANS, Failure, ItemRecord, MetricRecord, PlanItem, PlanRecord, SCHEMA_VERSION,
    SiteRecord, Status,
};

use crate::config::{Experiment, ModelFacts};
use crate::library::Library;
use crate::plan::{Cell, PlannedTrial};

/// How a trial is scored: its protocol with the settings of the experiment.
pub(crate) fn scoring(experiment: &Experiment, name: &str) -> Scoring {
    let protocol = protocol::find(name).unwrap_or_else(|| unreachable!("the configuration refuses unknown protocols"));
    experiment.scoring(protocol)
}

/// The reduction of a trial.
pub(crate) fn reduction(trial: &PlannedTrial) -> Reduction {
    Reduction {
        rule: trial.strategy.rule(),
        // Not read where the count is free.
        keep_ratio: trial.key.keep_ratio.unwrap_or(1.0),
        sites: trial.key.sites.clone(),
        seed: trial.key.seed,
        positions: trial.positions.unwrap_or_default(),
        signal_from: trial.signal_from,
    }
}

/// The record of a cell that was scored. `cost`: the time of each repeat, or its share where cells were run together, and the peak
/// memory meanwhile.
pub(super) fn record(
    trial: &PlannedTrial,
    cell: &Cell,
    task: &Task,
    model: &ModelFacts,
    library: &Library,
    evaluation: &Evaluation,
    (repeats_s, peak_mem_bytes): (&[f64], u64),
) -> CellRecord {
    let work = &evaluation.work;
    let wall_s = median(repeats_s);
    let mut record = empty(trial, cell, task.truncated);
    record.cost = CostRecord {
        flops_reduction_achieved: work.flops_reduction(model.n_layer()),
        flops_executed: work.flops(model.flops_per_token_head),
        tokens_in: work.tokens_in,
        tokens_per_s: work.tokens_in as f64 / wall_s.max(1e-9),
        peak_mem_bytes,
        wall_s,
        repeats_s: if repeats_s.len() > 1 { repeats_s.to_vec() } else { Vec::new() },
    };
    record.metrics = metrics::measured(task.measures, task.kind, &task.items, &evaluation.items)
        .into_iter()
        .map(|metric| MetricRecord {
            metric: metric.name.to_owned(),
            aggregate: metric.aggregate,
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
                length: item.facts.length,
                depth: item.facts.depth,
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
    record.plan_items = plan_items(&record, task, library);
    record
}

/// The record of a cell that failed.
///
/// `truncated`: requests of its task that lost tokens.
pub(super) fn failure(trial: &PlannedTrial, cell: &Cell, truncated: usize, failure: Failure) -> CellRecord {
    let Failure { error, hint } = failure;
    CellRecord { status: Status::Failed, error: Some(error), hint, ..empty(trial, cell, truncated) }
}

fn empty(trial: &PlannedTrial, cell: &Cell, truncated: usize) -> CellRecord {
    let mut notes = BTreeMap::new();
    if truncated > 0 {
        notes.insert("truncated_requests".to_owned(), truncated.to_string());
    }
    CellRecord {
        schema_version: SCHEMA_VERSION,
        cell_id: cell.cell_id.clone(),
        code: trial.code.clone(),
        trial: trial.key.clone(),
        task: cell.task.clone(),
        primary_metric: cell.primary_metric.to_owned(),
        status: Status::Done,
        error: None,
        hint: None,
        cost: CostRecord::default(),
        metrics: Vec::new(),
        items: Vec::new(),
        sites: Vec::new(),
        plans: Vec::new(),
        plan_items: Vec::new(),
        notes,
    }
}

/// Tokens of the first items whose plans are recorded: the first context, and its first continuation where the protocol
/// reduces that too. Those of the others are in the items of the task.
fn plan_items(record: &CellRecord, task: &Task, library: &Library) -> Vec<PlanItem> {
    let items: BTreeSet<usize> = record.plans.iter().map(|plan| plan.item).filter(|item| *item < FIRST_PLANS).collect();
    items
        .into_iter()
        .map(|index| {
            let item = &task.items[index];
            let context = &item.contexts[0];
            let whole = protocol::find(&record.trial.protocol).is_some_and(|protocol| protocol.scope == Scope::Input);
            let continuation = item.requests.first().filter(|_| whole).map_or(&[][..], |request| &request.continuation);
            let tokens: Vec<u32> = context.tokens.iter().chain(continuation).copied().collect();
            PlanItem {
                item: index,
                tokens: library.token_texts(&record.trial.model, &tokens),
                necessary: context.necessary.clone(),
            }
        })
        .collect()
}
