//! Decides the claim of an experiment from its recorded items.

use records::claim::Quantity;
use records::claim::{ArmName, PlannedClaim, PlannedComparison, PlannedRows};
use records::names::LOSS;

use super::arms::{Arm, TaskMean, arms, comparable};
use super::basis::is_timed;
use super::pooled::{Pooled, pool};
use super::statistics::{Decision, Evidence, Verdict, decide as decide_all};
use super::study::{Cell, Study};
use super::terms::{Terms, terms};

/// A claim with what was found.
pub struct ClaimResult {
    /// The claim as it was planned.
    pub claim: PlannedClaim,
    /// In the order of the claim's comparisons.
    pub rows: Vec<ComparisonResult>,
    /// One per entry of the claim and protocol: the effects over models, tasks and settings.
    pub pooled: Vec<Pooled>,
}

/// A comparison, decided. Effects are `higher - lower` in the unit of the quantity.
pub struct ComparisonResult {
    /// Effect, intervals and verdict.
    pub decision: Decision,
    /// Items of all tasks; tasks, for costs.
    pub n: usize,
    /// FLOPs reduction that the lower and the higher side achieved, mean over tasks; NaN for rows of a probe.
    pub achieved: [f64; 2],
    /// Whether that is as much on one side as on the other.
    pub terms: Terms,
    /// Why there is no effect.
    pub missing: Option<String>,
}

impl ComparisonResult {
    /// Half the width of the interval, which holds together with all others: a true effect that far beyond the margin is seen at least
    /// every other time.
    pub fn smallest_effect(&self) -> f64 {
        self.decision.interval.half_width()
    }
}

impl ClaimResult {
    /// How many comparisons ended so.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.decision.verdict == verdict).count()
    }
}

/// What a comparison rests on before it is decided.
pub(super) struct Found {
    pub(super) evidence: Evidence,
    n: usize,
    achieved: [f64; 2],
    terms: Terms,
}

/// Decides all comparisons of a claim together, and pools them.
pub(super) fn decide(study: &Study, claim: PlannedClaim) -> ClaimResult {
    let arms = arms(study);
    let find = |comparison: &PlannedComparison, tasks: &[String]| match &comparison.rows {
        Some(rows) => probed(study, comparison, tasks, rows),
        None if comparison.quantity.is_cost() => costs(study, comparison, tasks),
        None => scores(&arms, comparison, tasks),
    };
    let found: Vec<Result<Found, String>> =
        claim.comparisons.iter().map(|comparison| find(comparison, &comparison.tasks)).collect();
    let whole: Vec<Result<Evidence, String>> =
        found.iter().map(|found| found.as_ref().map(|found| found.evidence.clone()).map_err(Clone::clone)).collect();
    let known = whole.iter().map(|own| own.clone().unwrap_or(Evidence::Missing));
    let evidence: Vec<(Evidence, f64)> =
        known.zip(&claim.comparisons).map(|(own, comparison)| (own, comparison.margin)).collect();
    let rows: Vec<ComparisonResult> = decide_all(&evidence)
        .into_iter()
        .zip(found)
        .map(|(decision, found)| match found {
            Ok(Found { n, achieved, terms, .. }) => ComparisonResult { decision, n, achieved, terms, missing: None },
            Err(reason) => ComparisonResult {
                decision,
                n: 0,
                achieved: [f64::NAN; 2],
                terms: Terms::Unknown,
                missing: Some(reason),
            },
        })
        .collect();
    let pooled = pool(&claim.comparisons, &whole, |comparison, task| {
        find(comparison, std::slice::from_ref(task)).map(|found| found.evidence)
    });
    ClaimResult { claim, rows, pooled }
}

/// Paired over items, as every other difference of means.
fn scores(arms: &[Arm], comparison: &PlannedComparison, tasks: &[String]) -> Result<Found, String> {
    let quantity = comparison.quantity;
    let side = |name: &ArmName| {
        let arm = arms.iter().find(|arm| arm.trials.iter().any(|id| name.trials.contains(id)));
        let arm = arm.filter(|arm| name.trials.iter().all(|id| arm.trials.contains(id)));
        let arm = arm.ok_or_else(|| format!("`{}` did not finish", name.label))?;
        let valueless = arm.without_value.iter().find(|missing| tasks.contains(&missing.task));
        if let Some(missing) = valueless {
            return Err(format!("`{}` has no value on {}: {}", name.label, missing.task, missing.reason()));
        }
        let mean = arm.mean_over(tasks).ok_or_else(|| format!("`{}` did not finish on every task", name.label))?;
        Ok::<_, String>((arm, mean))
    };
    let (low, high) = (side(&comparison.lower)?, side(&comparison.higher)?);
    same_items(low.0, high.0, tasks, quantity)?;
    let achieved = [low.1.flops_reduction_achieved, high.1.flops_reduction_achieved];
    let terms = terms((achieved[0], low.0.reduces()), (achieved[1], high.0.reduces()));
    let n = low.1.estimate.n;
    // Tasks weigh the same, so the smallest says how much is known.
    let fewest = tasks.iter().filter_map(|task| low.0.task(task)).map(|task| task.estimate.n).min().unwrap_or(n);
    let (value, replicates) = if quantity.is_lost() {
        let lost = |side: &(&Arm, TaskMean)| {
            let baseline = arms.iter().find(|arm| arm.is_baseline && comparable(&arm.trial, &side.0.trial));
            let mean = baseline.and_then(|arm| arm.mean_over(tasks)).ok_or("the baseline did not finish")?;
            Ok::<_, String>(minus(&mean, &side.1))
        };
        let (low, high) = (lost(&low)?, lost(&high)?);
        (high.0 - low.0, high.1.iter().zip(&low.1).map(|(h, l)| h - l).collect())
    } else {
        minus(&high.1, &low.1)
    };
    // A log-likelihood is the loss with its sign turned.
    let unit = if quantity.is_accuracy() { 100.0 } else { -1.0 };
    let replicates = replicates.into_iter().map(|x: f64| x * unit).collect();
    let range = Some(quantity.range()).filter(|(_, most)| most.is_finite());
    Ok(Found { evidence: Evidence::new(value * unit, replicates, fewest * tasks.len(), range), n, achieved, terms })
}

fn minus(a: &TaskMean, b: &TaskMean) -> (f64, Vec<f64>) {
    let replicates = a.replicates.iter().zip(&b.replicates).map(|(a, b)| a - b).collect();
    (a.estimate.value - b.estimate.value, replicates)
}

/// Replicates are paired only where both sides scored the same items.
fn same_items(low: &Arm, high: &Arm, tasks: &[String], quantity: Quantity) -> Result<(), String> {
    for task in tasks {
        let (Some(low), Some(high)) = (low.task(task), high.task(task)) else { continue };
        if low.items_key != high.items_key || low.metric != high.metric {
            return Err(format!("the items of {task} are not the same on both sides"));
        }
        if quantity.is_accuracy() && low.lower_is_better {
            return Err(format!("the primary metric of {task} is `{}`, not an accuracy", low.metric));
        }
        if !quantity.is_accuracy() && low.metric != LOSS {
            return Err(format!("the primary metric of {task} is `{}`: write `primary: {LOSS}`", low.metric));
        }
    }
    Ok(())
}

/// The difference of two rows of a probe over the items that both have, the mean over tasks.
fn probed(
    study: &Study,
    comparison: &PlannedComparison,
    tasks: &[String],
    rows: &PlannedRows,
) -> Result<Found, String> {
    let Some(model) = &comparison.model else { unreachable!("rows are compared within a model") };
    let pairs = study.probes.pairs(model, tasks, rows, study.plan.seed)?;
    let points: Vec<f64> = pairs.replicates.into_iter().map(|x| x * 100.0).collect();
    let evidence = Evidence::new(pairs.difference * 100.0, points, pairs.fewest * tasks.len(), Some((-100.0, 100.0)));
    Ok(Found { evidence, n: pairs.n, achieved: [f64::NAN; 2], terms: Terms::Unknown })
}

/// One relative difference per task, in per cent of the lower side; seeds are averaged.
fn costs(study: &Study, comparison: &PlannedComparison, tasks: &[String]) -> Result<Found, String> {
    let cells = |name: &ArmName, task: &str| -> Result<Vec<&Cell>, String> {
        let of_arm = |cell: &&Cell| cell.record.task == task && name.trials.contains(&cell.record.trial.trial_id);
        let done = || study.cells.iter().filter(|cell| cell.is_done());
        let cells: Vec<&Cell> = done().filter(of_arm).collect();
        // A trial whose keep ratio was solved for another task has nothing to finish on this one.
        let finished = |id: &String| {
            let mut own = done().filter(|cell| cell.record.trial.trial_id == *id);
            own.any(|cell| cell.record.task == task || cell.record.trial.flops_reduction_asked.is_some())
        };
        let complete = !cells.is_empty() && name.trials.iter().all(finished);
        if comparison.quantity == Quantity::TokensPerS && !cells.iter().all(|cell| is_timed(&cell.record)) {
            return Err(format!("`{}` was not timed on {task}: run with `--repeats 5` into a new folder", name.label));
        }
        complete.then_some(cells).ok_or_else(|| format!("`{}` did not finish on {task}", name.label))
    };
    let mean =
        |cells: &[&Cell], of: fn(&Cell) -> f64| cells.iter().map(|cell| of(cell)).sum::<f64>() / cells.len() as f64;
    let cost: fn(&Cell) -> f64 = match comparison.quantity {
        Quantity::TokensPerS => |cell| cell.record.cost.tokens_per_s,
        _ => |cell| cell.record.cost.flops_executed,
    };
    let (mut values, mut achieved, mut reduces) = (Vec::new(), [0.0; 2], [false; 2]);
    let share = 1.0 / tasks.len() as f64;
    for task in tasks {
        let (low, high) = (cells(&comparison.lower, task)?, cells(&comparison.higher, task)?);
        values.push((mean(&high, cost) / mean(&low, cost) - 1.0) * 100.0);
        for (side, cells) in [&low, &high].into_iter().enumerate() {
            achieved[side] += share * mean(cells, |cell| cell.record.cost.flops_reduction_achieved);
            reduces[side] |= cells.iter().any(|cell| !cell.record.trial.sites.is_empty());
        }
    }
    let terms = terms((achieved[0], reduces[0]), (achieved[1], reduces[1]));
    Ok(Found { n: values.len(), evidence: Evidence::Tasks(values), achieved, terms })
}
