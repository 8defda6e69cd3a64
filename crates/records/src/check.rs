//! Whether a record is what its name says, and whether its numbers can be what they claim to be. What is read is checked here before
//! it is believed, and what is computed before it is written.

use std::collections::HashSet;

use crate::guards::GuardRow;
use crate::names::is_loss;
use crate::plan::Cohort;
use crate::probes::{PROBE_SCHEMA_VERSION, ProbeRecord};
use crate::schema::{Aggregate, CellRecord, ItemRecord, MetricRecord, SCHEMA_VERSION, SiteRecord, Status, TrialKey};

/// What float32 may lose of a probability of 1, as the logarithm of one scored token.
const ROUNDING: f64 = 1e-3;
/// Difference of numbers that were written and read again.
const SAME: f64 = 1e-9;

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// Checks a cell by itself; `id` is the name of its file.
///
/// # Errors
/// What cannot be, in words.
pub fn cell(record: &CellRecord, id: &str) -> Result<(), String> {
    let CellRecord { schema_version, cell_id, .. } = record;
    ensure(*schema_version == SCHEMA_VERSION, || {
        format!("it has record version {schema_version}, this program reads version {SCHEMA_VERSION}")
    })?;
    ensure(cell_id == id, || format!("it is of cell {cell_id}"))?;
    ended(record.status, record.error.as_deref())?;
    if record.status == Status::Failed {
        return Ok(());
    }
    let n = record.items.len();
    ensure(n > 0, || "it has no items".to_owned())?;
    record.items.iter().enumerate().try_for_each(|(index, item)| {
        self::item(item).map_err(|why| format!("item {index} (`{}`): {why}", item.item_id))
    })?;
    for (index, metric) in record.metrics.iter().enumerate() {
        let name = &metric.metric;
        let is_new = record.metrics[..index].iter().all(|other| other.metric != *name);
        ensure(is_new, || format!("metric `{name}` is there twice"))?;
        self::metric(metric, &record.items).map_err(|why| format!("metric `{name}`: {why}"))?;
    }
    let primary = &record.primary_metric;
    ensure(record.metrics.iter().any(|metric| metric.metric == *primary), || {
        format!("its primary metric `{primary}` is not among its metrics")
    })?;
    record.sites.iter().try_for_each(|site| self::site(site, &record.trial))?;
    repeated(record)?;
    let mut planned = record.plans.iter().map(|plan| plan.item).chain(record.plan_items.iter().map(|plan| plan.item));
    if let Some(item) = planned.find(|item| *item >= n) {
        return Err(format!("a plan names item {item} of {n}"));
    }
    let cost = &record.cost;
    for (what, value) in
        [("flops_executed", cost.flops_executed), ("tokens_per_s", cost.tokens_per_s), ("wall_s", cost.wall_s)]
    {
        ensure(value.is_finite() && value >= 0.0, || format!("{what} is {value}"))?;
    }
    for value in &cost.repeats_s {
        ensure(value.is_finite() && *value >= 0.0, || format!("a repeat took {value} seconds"))?;
    }
    share("flops_reduction_achieved", cost.flops_reduction_achieved)
}

/// Refuses what is in a record twice and would be joined with the wrong one: items, and plans of an item at a site.
fn repeated(record: &CellRecord) -> Result<(), String> {
    let mut ids = HashSet::new();
    if let Some(item) = record.items.iter().find(|item| !ids.insert(item.item_id.as_str())) {
        return Err(format!("two of its items have the id `{}`", item.item_id));
    }
    let mut plans = HashSet::new();
    if let Some(plan) = record.plans.iter().find(|plan| !plans.insert((plan.item, plan.site))) {
        return Err(format!("item {} has two plans at layer {}", plan.item, plan.site));
    }
    let mut tokens = HashSet::new();
    match record.plan_items.iter().find(|plan| !tokens.insert(plan.item)) {
        Some(plan) => Err(format!("the tokens of item {} are in it twice", plan.item)),
        None => Ok(()),
    }
}

fn item(item: &ItemRecord) -> Result<(), String> {
    let choices = item.loglikelihoods.len();
    ensure(item.greedy.len() == choices, || {
        format!("{choices} log-likelihoods, and {} flags whether they are greedy", item.greedy.len())
    })?;
    for value in &item.loglikelihoods {
        ensure(value.is_finite(), || format!("its log-likelihood is {value}"))?;
    }
    for (what, index) in [("gold", item.gold), ("predicted", item.predicted)] {
        ensure(index.is_none_or(|index| (index as usize) < choices), || {
            format!("its {what} choice is {} of {choices}", index.unwrap_or_default())
        })?;
    }
    if item.gold.is_some() {
        ensure(item.correct == Some(item.predicted == item.gold), || {
            format!("gold {:?}, predicted {:?}, but correct is {:?}", item.gold, item.predicted, item.correct)
        })?;
    }
    ensure(item.tokens_kept <= item.tokens_in, || {
        format!("{} tokens are kept of {}", item.tokens_kept, item.tokens_in)
    })?;
    share("coverage", item.coverage)?;
    share("necessary_kept", item.necessary_kept.unwrap_or(0.0))?;
    share("depth", item.depth.unwrap_or(0.0))
}

fn metric(metric: &MetricRecord, items: &[ItemRecord]) -> Result<(), String> {
    let (n, contributions) = (items.len(), metric.contributions.len());
    ensure(contributions == n, || format!("{contributions} contributions for {n} items"))?;
    for (index, &(value, weight)) in metric.contributions.iter().enumerate() {
        let of = |what: &str| format!("the contribution of item {index} is {value} with weight {weight}: {what}");
        ensure(value.is_finite() && weight.is_finite(), || of("not finite"))?;
        ensure(weight >= 0.0, || of("a negative weight"))?;
        match metric.aggregate {
            Aggregate::Mean => {
                let (least, most) =
                    if is_loss(&metric.metric) { (-ROUNDING, f64::INFINITY) } else { (0.0, weight + SAME) };
                ensure(value >= least, || of("negative"))?;
                ensure(value <= most, || of("more than all of it"))?;
            }
            Aggregate::ExpNegMean => ensure(value <= ROUNDING * weight.max(1.0), || of("a probability above 1"))?,
        }
        if let ("acc", Some(correct)) = (metric.metric.as_str(), items[index].correct) {
            ensure((value - f64::from(u8::from(correct))).abs() < SAME, || of(&format!("`correct` is {correct}")))?;
        }
        if metric.metric == "loss" {
            let own = &items[index].loglikelihoods;
            let right = items[index].gold.and_then(|gold| own.get(gold as usize)).copied();
            let loglikelihood = right.unwrap_or_else(|| own.iter().sum());
            let same = (value + loglikelihood).abs() <= SAME * value.abs().max(1.0);
            ensure(same, || of(&format!("the log-likelihood is {loglikelihood}")))?;
        }
    }
    Ok(())
}

fn site(record: &SiteRecord, trial: &TrialKey) -> Result<(), String> {
    let SiteRecord { site, tokens_in, tokens_out, merged_similarity } = record;
    ensure(trial.sites.contains(site), || format!("it has a site {site}, its trial has {:?}", trial.sites))?;
    ensure(tokens_out <= tokens_in, || format!("site {site}: {tokens_out} tokens are kept of {tokens_in}"))?;
    let similarity = merged_similarity.unwrap_or(0.0);
    ensure(similarity.abs() <= 1.0 + ROUNDING, || format!("site {site}: a cosine of {similarity}"))
}

/// Checks a cell against what a plan asks under its id: everything that decides the numbers. `primary_metric` is that of the task.
///
/// # Errors
/// What differs, in words.
pub fn asked(record: &CellRecord, trial: &TrialKey, task: &str, primary_metric: &str) -> Result<(), String> {
    let own = &record.trial;
    let same = [
        ("trial_id", own.trial_id == trial.trial_id),
        ("strategy", own.strategy == trial.strategy),
        ("strategy_params", own.strategy_params == trial.strategy_params),
        ("sites", own.sites == trial.sites),
        ("keep_ratio", same_share(own.keep_ratio, trial.keep_ratio)),
        ("flops_reduction_asked", own.flops_reduction_asked == trial.flops_reduction_asked),
        ("calibration", own.calibration == trial.calibration),
        ("protocol", own.protocol == trial.protocol),
        ("seed", own.seed == trial.seed),
        ("split", own.split == trial.split),
        ("limit", own.limit == trial.limit),
        ("device", own.device == trial.device),
        ("dtype", own.dtype == trial.dtype),
        ("task", record.task == task),
        ("primary_metric", record.primary_metric == primary_metric),
    ];
    match same.iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(format!("its `{what}` is not the one that the plan asks for")),
        None => Ok(()),
    }
}

/// Checks a cell against what `plan.json` says of it: less than a plan does.
///
/// # Errors
/// What differs, in words.
pub fn of_cohort(record: &CellRecord, cohort: &Cohort) -> Result<(), String> {
    let (task, protocol) = (&record.task, &record.trial.protocol);
    ensure((task, protocol) == (&cohort.task, &cohort.protocol), || {
        format!("it is of {task} under `{protocol}`, the plan asks for {} under `{}`", cohort.task, cohort.protocol)
    })
}

/// Whether the labels of a record are those of the plan: the same weights may be found elsewhere, the same sites be named in another
/// way.
pub fn is_labelled(record: &CellRecord, trial: &TrialKey) -> bool {
    let own = &record.trial;
    own.experiment == trial.experiment
        && own.model == trial.model
        && own.schedule == trial.schedule
        && own.importance == trial.importance
        && own.importance_source == trial.importance_source
        && same_share(own.flops_reduction_nominal, trial.flops_reduction_nominal)
}

/// Whether two shares are the same, or both are none.
fn same_share(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= SAME,
        _ => a.is_none() && b.is_none(),
    }
}

/// Checks a probe by itself; `id` is the name of its file.
///
/// # Errors
/// What cannot be, in words.
pub fn probe(record: &ProbeRecord, id: &str) -> Result<(), String> {
    let ProbeRecord { schema_version, probe_id, .. } = record;
    ensure(*schema_version == PROBE_SCHEMA_VERSION, || {
        format!("it has record version {schema_version}, this program reads version {PROBE_SCHEMA_VERSION}")
    })?;
    ensure(probe_id == id, || format!("it is of probe {probe_id}"))?;
    ended(record.status, record.error.as_deref())?;
    let mut names = HashSet::new();
    for (index, row) in record.rows.iter().enumerate() {
        let name = format!("{} {:?}", row.measure, row.keys);
        ensure(names.insert(name.clone()), || format!("two of its rows are {name}"))?;
        ensure(row.keys.len() == record.columns.len(), || format!("row {index} has not one key per column"))?;
        let mut last = None;
        for &(item, sum, number) in &row.contributions {
            ensure(sum.is_finite() && number.is_finite() && number >= 0.0, || {
                format!("row {index}: item {item} adds {sum} from {number} observations")
            })?;
            ensure((item as usize) < record.items && last < Some(item), || {
                format!("row {index}: item {item} of {} is out of place", record.items)
            })?;
            last = Some(item);
        }
    }
    Ok(())
}

/// Checks an outcome of a guard.
///
/// # Errors
/// What cannot be, in words.
pub fn guard(row: &GuardRow) -> Result<(), String> {
    share("measured", row.measured)?;
    let ratio = row.keep_ratio.unwrap_or(1.0);
    ensure(ratio.is_finite() && ratio > 0.0, || format!("keep_ratio is {ratio}"))
}

fn ended(status: Status, error: Option<&str>) -> Result<(), String> {
    ensure((status == Status::Failed) == error.is_some(), || match status {
        Status::Done => "it is done, and has an error".to_owned(),
        Status::Failed => "it failed, and has no error".to_owned(),
    })
}

fn share(what: &str, value: f64) -> Result<(), String> {
    ensure((-SAME..=1.0 + SAME).contains(&value), || format!("{what} is {value}, outside 0 to 1"))
}
