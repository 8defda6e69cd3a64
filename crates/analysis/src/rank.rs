//! Rules ranked against each other over models, tasks and reductions, and what accuracy costs.
//!
//! A *contest* is a model with its sites, an asked reduction and a task, under one protocol. In each contest the rules that achieved the same
//! reduction are ranked by their primary metric; ties share their mean rank. Intervals come from the resamples of items that all
//! statistics share: each resample ranks every contest anew. Contests of one task use the same resamples, so what they share is kept.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::Serialize;

use records::each_once;

use crate::arms::{Arm, ArmTask, arms};
use crate::basis::Basis;
use crate::compare::{Pick, point};
use crate::labels::Labels;
use crate::statistics::{difference_of_replicates, holm, percentile_interval};
use crate::study::Study;
use crate::terms::comparable_set;

/// The rules of an experiment, ranked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranking {
    /// The experiment.
    pub experiment: String,
    /// Seed of the resamples, which is that of the experiment.
    pub seed: u64,
    /// Resamples of items.
    pub resamples: usize,
    /// What the Pareto fronts are about besides the score.
    pub cost: Basis,
    /// One ranking per protocol: scores of different protocols are no two views of one thing.
    pub protocols: Vec<ProtocolRanking>,
}

/// The rules under one protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProtocolRanking {
    /// The protocol.
    pub protocol: String,
    /// Contests in which at least two rules meet on equal terms.
    pub contests: usize,
    /// Results of rules that achieved another reduction than the others of their contest, and are not ranked there.
    pub unequal: usize,
    /// The rules, best first.
    pub rules: Vec<RankedRule>,
    /// The rule that was asked for, or the best one, against each other rule.
    pub against: Vec<Against>,
    /// What the mean over tasks costs, by model.
    pub costs: Vec<Cost>,
}

/// A rule and its mean rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankedRule {
    /// The rule, as figures call it.
    pub rule: String,
    /// Contests in which it is ranked.
    pub contests: usize,
    /// Mean rank over them; 1 is the best.
    pub mean_rank: f64,
    /// Low end of its 95 % interval over items.
    pub ci_low: f64,
    /// High end of its 95 % interval over items.
    pub ci_high: f64,
    /// Mean number of rules in its contests: the worst mean rank there could be.
    pub of: f64,
    /// Contests in which no rule is better.
    pub first: usize,
}

/// A rule against another, over the contests in which both are ranked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Against {
    /// The rule.
    pub rule: String,
    /// The other rule.
    pub other: String,
    /// Contests.
    pub contests: usize,
    /// Contests in which the rule has the better value.
    pub better: usize,
    /// Contests in which both have the same value.
    pub equal: usize,
    /// Contests in which the rule has the worse value.
    pub worse: usize,
    /// Contests in which the 95 % interval of the paired difference says better; not corrected.
    pub clearly_better: usize,
    /// Contests in which it says worse.
    pub clearly_worse: usize,
    /// Mean rank of the rule minus that of the other in these contests; negative is better.
    pub rank_difference: f64,
    /// Low end of its 95 % interval over items.
    pub ci_low: f64,
    /// High end of its 95 % interval over items.
    pub ci_high: f64,
    /// Two-sided, of the rank difference.
    pub p_value: f64,
    /// With Holm's correction over the other rules.
    pub p_holm: f64,
}

/// What a rule reaches at a reduction, and at which cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// The model.
    pub model: String,
    /// The rule; also the baseline.
    pub rule: String,
    /// Sites and asked reduction, in words; none for what reduces nothing.
    pub setting: Option<String>,
    /// Mean over the tasks of [`Cost::metric`].
    pub value: f64,
    /// `accuracy`, or `loss` where no task counts right answers.
    pub metric: &'static str,
    /// Tasks in the mean.
    pub tasks: usize,
    /// Mean achieved reduction.
    pub achieved: f64,
    /// Wall time of these tasks, mean over seeds, in seconds: shares of common work where cells ran together.
    pub wall_s: f64,
    /// FLOPs executed for these tasks, mean over seeds.
    pub flops: f64,
    /// Whether nothing of this model is as good at a lower cost, or better at the same ([`Ranking::cost`]).
    pub on_front: bool,
}

/// An arm in a contest: its rule, and its result with better values higher.
struct Entry<'a> {
    rule: &'a str,
    result: &'a ArmTask,
    sign: f64,
}

/// A contest and the ranks of its rules, in the same order.
struct Contest<'a> {
    entries: Vec<Entry<'a>>,
    ranks: Vec<f64>,
    /// Of each entry, over the resamples.
    replicates: Vec<Vec<f32>>,
}

/// Ranks the rules of a study. `rule`: the one that is shown against all others; the best one if none is given.
///
/// # Errors
/// In words: no rule is the one asked for, or several are.
pub fn rank(study: &Study, rule: Option<&Pick>) -> Result<Ranking, String> {
    let (labels, all) = (Labels::of(study), arms(study));
    let named: Vec<(String, &Arm)> = all.iter().map(|arm| (labels.label(&arm.trial), arm)).collect();
    let focus = rule.map(|pick| find(pick, &named)).transpose()?;
    let order = each_once(named.iter().map(|(_, arm)| arm.trial.protocol.as_str()));
    let protocols = order.into_iter().map(|protocol| {
        let own: Vec<&(String, &Arm)> = named.iter().filter(|(_, arm)| arm.trial.protocol == protocol).collect();
        let (contests, unequal) = contests(&own);
        let rules = ranked(&contests);
        let focus = focus.as_deref().or_else(|| rules.first().map(|best| best.rule.as_str()));
        let against = focus.map_or_else(Vec::new, |focus| against(focus, &rules, &contests));
        ProtocolRanking {
            protocol: protocol.to_owned(),
            contests: contests.len(),
            unequal,
            rules,
            against,
            costs: costs(&own, study.basis),
        }
    });
    let protocols = protocols.collect();
    let resamples = all.iter().flat_map(|arm| &arm.tasks).map(|task| task.replicates.len()).max().unwrap_or(0);
    Ok(Ranking {
        experiment: study.plan.experiment.clone(),
        seed: study.plan.seed,
        resamples,
        cost: study.basis,
        protocols,
    })
}

fn find(pick: &Pick, named: &[(String, &Arm)]) -> Result<String, String> {
    let taken = named.iter().filter(|(_, arm)| arm.reduces() && pick.takes(&arm.trial));
    let found: BTreeSet<&str> = taken.map(|(label, _)| label.as_str()).collect();
    match found.iter().copied().collect::<Vec<_>>().as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => {
            let known: BTreeSet<&str> =
                named.iter().filter(|(_, arm)| arm.reduces()).map(|(label, _)| label.as_str()).collect();
            Err(format!("no rule is `{pick}`; there are {}", known.into_iter().collect::<Vec<_>>().join(", ")))
        }
        several => Err(format!(
            "`{pick}` means several rules, {}: add options, as in top_k:importance=clip",
            several.join(" and ")
        )),
    }
}

/// Contests with at least two rules on equal terms, and how many results are on other terms than their contest.
fn contests<'a>(named: &[&'a (String, &'a Arm)]) -> (Vec<Contest<'a>>, usize) {
    let mut found: BTreeMap<String, Vec<(&'a Arm, Entry<'a>)>> = BTreeMap::new();
    for (label, arm) in named.iter().filter(|(_, arm)| arm.reduces()) {
        for result in &arm.tasks {
            let sign = if result.lower_is_better { -1.0 } else { 1.0 };
            let key = format!("{:?} {} {}", point(&arm.trial), result.task, result.items_key);
            found.entry(key).or_default().push((*arm, Entry { rule: label, result, sign }));
        }
    }
    let mut unequal = 0;
    let mut kept: Vec<Vec<Entry<'a>>> = Vec::new();
    for members in found.into_values() {
        let achieved: Vec<Option<f64>> =
            members.iter().map(|(_, entry)| Some(entry.result.flops_reduction_achieved)).collect();
        let trial = &members[0].0.trial;
        let nominal = trial.flops_reduction_asked.or(trial.flops_reduction_nominal).unwrap_or(0.0);
        let inside = comparable_set(&achieved, nominal);
        unequal += inside.iter().filter(|inside| !**inside).count();
        let entries: Vec<Entry<'a>> =
            members.into_iter().zip(inside).filter(|(_, inside)| *inside).map(|((_, entry), _)| entry).collect();
        if entries.len() > 1 {
            kept.push(entries);
        }
    }
    (kept.into_par_iter().map(Contest::of).collect(), unequal)
}

impl<'a> Contest<'a> {
    fn of(entries: Vec<Entry<'a>>) -> Self {
        let ranks = ranks(&entries.iter().map(|entry| entry.sign * entry.result.estimate.value).collect::<Vec<_>>());
        let draws = entries.iter().map(|entry| entry.result.replicates.len()).min().unwrap_or(0);
        let mut replicates = vec![Vec::with_capacity(draws); entries.len()];
        let mut values = vec![0.0; entries.len()];
        for draw in 0..draws {
            for (value, entry) in values.iter_mut().zip(&entries) {
                *value = entry.sign * f64::from(entry.result.replicates[draw]);
            }
            for (own, rank) in replicates.iter_mut().zip(self::ranks(&values)) {
                own.push(rank as f32);
            }
        }
        Self { entries, ranks, replicates }
    }

    fn position(&self, rule: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.rule == rule)
    }
}

/// The rank of each value, 1 for the highest; ties share the mean of their ranks, and NaN is below every number.
fn ranks(values: &[f64]) -> Vec<f64> {
    let known = |value: f64| if value.is_nan() { f64::NEG_INFINITY } else { value };
    let rank = |own: &f64| {
        let (mut better, mut equal) = (0, 0);
        for other in values {
            better += usize::from(known(*other) > known(*own));
            equal += usize::from(known(*other).total_cmp(&known(*own)).is_eq());
        }
        better as f64 + f64::midpoint(equal as f64, 1.0)
    };
    values.iter().map(rank).collect()
}

/// Mean over contests of what a rule has in each, over the resamples.
fn mean_replicates<'r>(of_contests: impl Iterator<Item = &'r Vec<f32>>) -> Vec<f64> {
    let (mut sums, mut contests) = (Vec::<f64>::new(), 0.0);
    for own in of_contests {
        sums.resize(own.len().max(sums.len()), 0.0);
        sums.iter_mut().zip(own).for_each(|(sum, rank)| *sum += f64::from(*rank));
        contests += 1.0;
    }
    for sum in &mut sums {
        *sum /= contests;
    }
    sums
}

fn ranked(contests: &[Contest<'_>]) -> Vec<RankedRule> {
    let names: BTreeSet<&str> = contests.iter().flat_map(|contest| &contest.entries).map(|entry| entry.rule).collect();
    let of_rule = |rule: &&str| {
        let own: Vec<(&Contest<'_>, usize)> =
            contests.iter().filter_map(|contest| Some((contest, contest.position(rule)?))).collect();
        let mean = |of: &dyn Fn(&(&Contest<'_>, usize)) -> f64| own.iter().map(of).sum::<f64>() / own.len() as f64;
        let interval =
            percentile_interval(&mean_replicates(own.iter().map(|(contest, place)| &contest.replicates[*place])));
        let is_first =
            |(contest, place): &&(&Contest<'_>, usize)| contest.ranks.iter().all(|rank| *rank >= contest.ranks[*place]);
        RankedRule {
            rule: (*rule).to_owned(),
            contests: own.len(),
            mean_rank: mean(&|(contest, place)| contest.ranks[*place]),
            ci_low: interval.low,
            ci_high: interval.high,
            of: mean(&|(contest, _)| contest.entries.len() as f64),
            first: own.iter().filter(is_first).count(),
        }
    };
    let mut rules: Vec<RankedRule> = names.iter().map(of_rule).collect();
    rules.sort_by(|a, b| a.mean_rank.total_cmp(&b.mean_rank));
    rules
}

fn against(focus: &str, rules: &[RankedRule], contests: &[Contest<'_>]) -> Vec<Against> {
    let others = rules.iter().filter(|other| other.rule != focus);
    let mut all: Vec<Against> = others.filter_map(|other| against_one(focus, &other.rule, contests)).collect();
    let corrected = holm(&all.iter().map(|other| other.p_value).collect::<Vec<_>>());
    all.iter_mut().zip(corrected).for_each(|(other, p_value)| other.p_holm = p_value);
    all
}

fn against_one(focus: &str, other: &str, contests: &[Contest<'_>]) -> Option<Against> {
    let common: Vec<(&Contest<'_>, usize, usize)> = contests
        .iter()
        .filter_map(|contest| Some((contest, contest.position(focus)?, contest.position(other)?)))
        .collect();
    let n = common.len();
    if n == 0 {
        return None;
    }
    let (mut better, mut worse, mut clearly_better, mut clearly_worse) = (0, 0, 0, 0);
    for (contest, own, other) in &common {
        let (own, other) = (&contest.entries[*own], &contest.entries[*other]);
        better += usize::from(own.sign * (own.result.estimate.value - other.result.estimate.value) > 0.0);
        worse += usize::from(own.sign * (own.result.estimate.value - other.result.estimate.value) < 0.0);
        if let Some(difference) = own.result.minus(other.result) {
            let (low, high) = (difference.interval.low * own.sign, difference.interval.high * own.sign);
            clearly_better += usize::from(low.min(high) > 0.0);
            clearly_worse += usize::from(low.max(high) < 0.0);
        }
    }
    let value =
        common.iter().map(|(contest, own, other)| contest.ranks[*own] - contest.ranks[*other]).sum::<f64>() / n as f64;
    let of_focus = mean_replicates(common.iter().map(|(contest, own, _)| &contest.replicates[*own]));
    let of_other = mean_replicates(common.iter().map(|(contest, _, other)| &contest.replicates[*other]));
    let difference = difference_of_replicates(value, &of_focus, &of_other);
    Some(Against {
        rule: focus.to_owned(),
        other: other.to_owned(),
        contests: n,
        better,
        equal: n - better - worse,
        worse,
        clearly_better,
        clearly_worse,
        rank_difference: value,
        ci_low: difference.interval.low,
        ci_high: difference.interval.high,
        p_value: difference.p_value,
        p_holm: f64::NAN,
    })
}

/// What each arm reaches and costs, over the tasks that every arm of its model has.
fn costs(named: &[&(String, &Arm)], basis: Basis) -> Vec<Cost> {
    let models = each_once(named.iter().map(|(_, arm)| arm.trial.model.as_str()));
    let mut all = Vec::new();
    for model in models {
        let own: Vec<&&(String, &Arm)> = named.iter().filter(|(_, arm)| arm.trial.model == model).collect();
        // What is achieved task by task has other sites and ratios, and still every task.
        let shared = |task: &&ArmTask| own.iter().all(|(_, arm)| arm.task(&task.task).is_some());
        let first: Vec<&ArmTask> = own[0].1.tasks.iter().filter(shared).collect();
        let counts = first.iter().any(|task| !task.lower_is_better);
        let tasks: Vec<String> =
            first.iter().filter(|task| task.lower_is_better != counts).map(|task| task.task.clone()).collect();
        let mut costs: Vec<Cost> = own.iter().filter_map(|(label, arm)| cost(label, arm, &tasks, counts)).collect();
        let sign = if counts { 1.0 } else { -1.0 };
        let paid = |cost: &Cost| match basis {
            Basis::Time => cost.wall_s,
            Basis::Flops => cost.flops,
        };
        let points: Vec<(f64, f64)> = costs.iter().map(|cost| (sign * cost.value, paid(cost))).collect();
        for (cost, on_front) in costs.iter_mut().zip(front(&points)) {
            cost.on_front = on_front;
        }
        all.extend(costs);
    }
    all
}

fn cost(label: &str, arm: &Arm, tasks: &[String], counts: bool) -> Option<Cost> {
    let mean = arm.mean_over(tasks)?;
    let paid = || tasks.iter().filter_map(|task| arm.task(task)).map(|task| &task.cost);
    let setting = || format!("{}, {}", arm.trial.schedule, arm.trial.reduction().in_words(1));
    Some(Cost {
        model: arm.trial.model.clone(),
        rule: label.to_owned(),
        setting: arm.reduces().then(setting),
        value: mean.estimate.value,
        metric: if counts { "accuracy" } else { "loss" },
        tasks: tasks.len(),
        achieved: mean.flops_reduction_achieved,
        wall_s: paid().map(|cost| cost.wall_s).sum(),
        flops: paid().map(|cost| cost.flops).sum(),
        on_front: false,
    })
}

/// Which points `(value, cost)` no other point dominates: at least as high a value at no higher cost, and better in one of the two.
fn front(points: &[(f64, f64)]) -> Vec<bool> {
    let dominates = |a: &(f64, f64), b: &(f64, f64)| a.0 >= b.0 && a.1 <= b.1 && (a.0 > b.0 || a.1 < b.1);
    points.iter().map(|own| !points.iter().any(|other| dominates(other, own))).collect()
}

#[cfg(test)]
mod tests;
