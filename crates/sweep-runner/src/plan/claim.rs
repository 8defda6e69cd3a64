//! The comparisons of a claim, settled against the grid: which trials are on each side.
//!
//! A comparison is made wherever an arm (trials that differ by their seed alone) of each side meet: an axis that both sides name may
//! differ between them, every other one is the same on both. What a trial does not have (sites of `dense`, positions of a recurrence)
//! meets everything.

use records::claim::{ArmName, PlannedClaim, PlannedComparison, Quantity};
use records::names::{LOSS, is_loss};
use reduction_strategies::options::OptionValue;

use super::claim_rows;
use super::error::MOST_COMPARISONS;
use super::{ExperimentPlan, GridError, PlannedTrial, matching};
use crate::config::{Amount, Claim, Comparison, Condition, Entry, PlannedTask, Scoring, Selector};

/// Trials of the plan, by index, that differ by their seed alone, or by their task where a reduction is achieved on each.
pub(super) struct Arm(pub(super) Vec<usize>);

/// An axis of the grid that two sides may share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Model,
    Protocol,
    Positions,
    Sites,
    Amount,
}

/// `digest` is that of the file that holds the claim.
pub(super) fn resolve(claim: &Claim, digest: String, plan: &ExperimentPlan) -> Result<PlannedClaim, GridError> {
    let arms = arms(plan);
    let mut comparisons: Vec<PlannedComparison> = Vec::new();
    for (index, entry) in claim.decide.iter().enumerate() {
        let before = comparisons.len();
        let entry = match entry {
            Entry::Trials(entry) => entry,
            Entry::Rows(entry) => {
                comparisons.extend(claim_rows::resolve(entry, plan)?);
                comparisons[before..].iter_mut().for_each(|own| own.entry = index);
                continue;
            }
        };
        for lower in arms.iter().filter(|arm| is_on(arm, &entry.lower, plan)) {
            for higher in arms.iter().filter(|arm| is_on(arm, &entry.higher, plan)) {
                comparisons.extend(meet(entry, lower, higher, plan));
            }
        }
        if comparisons.len() == before {
            return Err(nothing(entry, &arms, plan));
        }
        comparisons[before..].iter_mut().for_each(|own| own.entry = index);
    }
    if comparisons.len() > MOST_COMPARISONS {
        return Err(GridError::ClaimTooWide(comparisons.len()));
    }
    Ok(PlannedClaim {
        expect: claim.expect.clone(),
        estimand: claim.estimand.clone(),
        population: claim.population.clone(),
        margin_reason: claim.margin_reason.clone(),
        seen: claim.seen.clone(),
        status: claim.status,
        digest,
        comparisons,
    })
}

pub(super) fn arms(plan: &ExperimentPlan) -> Vec<Arm> {
    let mut arms: Vec<Arm> = Vec::new();
    for (index, trial) in plan.trials.iter().enumerate() {
        match arms.iter_mut().find(|arm| plan.trials[arm.0[0]].is_of_arm(trial)) {
            Some(arm) => arm.0.push(index),
            None => arms.push(Arm(vec![index])),
        }
    }
    arms
}

pub(super) fn is_on(arm: &Arm, side: &Selector, plan: &ExperimentPlan) -> bool {
    plan.tasks.iter().any(|task| matching::matches(side, &plan.trials[arm.0[0]], task, false))
}

fn nothing(entry: &Comparison, arms: &[Arm], plan: &ExperimentPlan) -> GridError {
    let empty = [&entry.lower, &entry.higher].into_iter().find(|side| !arms.iter().any(|arm| is_on(arm, side, plan)));
    let line = entry.lower.line;
    let is_unmeasured = |task: &&PlannedTask| !is_measured(entry.quantity, task, plan);
    match empty {
        Some(side) => GridError::Claim {
            line,
            problem: format!("no trial that runs is {side}"),
            help: "add it to the grid, or take it out of `exclude`, `zip` and `sample`".to_owned(),
        },
        None if plan.tasks.iter().all(|task| is_unmeasured(&task)) => {
            let tasks: Vec<&str> = plan.tasks.iter().map(|task| task.name.as_str()).collect();
            GridError::Claim {
                line,
                problem: format!("no task has `{}` from its primary metric: {}", entry.quantity, tasks.join(", ")),
                help: String::from(if entry.quantity.is_accuracy() {
                    "running text and `primary: loss` have no accuracy: write `quantity: log_likelihood` and `primary: loss`"
                } else {
                    "write `primary: loss`, or `quantity: accuracy`"
                }),
            }
        }
        None if entry.lower.conditions == entry.higher.conditions => GridError::Claim {
            line,
            problem: format!("both sides are {}", entry.lower),
            help: "name what differs on both sides: an option, a protocol, a reduction".to_owned(),
        },
        None => GridError::Claim {
            line,
            problem: format!(
                "{} and {} have no model, protocol, reduction and task in common",
                entry.lower, entry.higher
            ),
            help: "an axis on which the sides shall differ must be named on both of them".to_owned(),
        },
    }
}

fn meet(entry: &Comparison, lower: &Arm, higher: &Arm, plan: &ExperimentPlan) -> Option<PlannedComparison> {
    let (low, high) = (&plan.trials[lower.0[0]], &plan.trials[higher.0[0]]);
    if low.key.trial_id == high.key.trial_id {
        return None;
    }
    let free = |axis: Axis| names(&entry.lower, axis) && names(&entry.higher, axis);
    for axis in [Axis::Model, Axis::Protocol, Axis::Positions, Axis::Sites, Axis::Amount] {
        let differ = matches!((value(low, axis), value(high, axis)), (Some(a), Some(b)) if a != b);
        if differ && !free(axis) {
            return None;
        }
    }
    let tasks = tasks(entry, lower, higher, plan);
    if tasks.is_empty() {
        return None;
    }
    let reduced = if low.amount.is_some() { low } else { high };
    let common = |axis: Axis| if free(axis) { None } else { value(reduced, axis) };
    let several_sites = plan.trials.iter().filter_map(|trial| value(trial, Axis::Sites)).any(|sites| sites != "paper");
    let sites = common(Axis::Sites).filter(|_| several_sites);
    let setting = [common(Axis::Amount), sites, common(Axis::Positions)].into_iter().flatten();
    let side = |arm: &Arm, selector: &Selector| ArmName {
        label: label(&plan.trials[arm.0[0]], selector, free),
        trials: trials(arm, &tasks, plan),
    };
    Some(PlannedComparison {
        entry: 0,
        name: entry.name.clone(),
        model: common(Axis::Model),
        protocol: common(Axis::Protocol),
        setting: setting.collect::<Vec<_>>().join(", "),
        lower: side(lower, &entry.lower),
        higher: side(higher, &entry.higher),
        quantity: entry.quantity,
        margin: entry.margin,
        tasks,
        rows: None,
    })
}

/// Ids of the trials of an arm that run some of the tasks.
pub(super) fn trials(arm: &Arm, tasks: &[String], plan: &ExperimentPlan) -> Vec<String> {
    let all = arm.0.iter().map(|&index| &plan.trials[index]);
    let own = all.filter(|trial| tasks.iter().any(|task| trial.has_task(task)));
    own.map(|trial| trial.key.trial_id.clone()).collect()
}

/// Whether the primary metric of a task is what a quantity is read from.
fn is_measured(quantity: Quantity, task: &PlannedTask, plan: &ExperimentPlan) -> bool {
    let own = || plan.cells.iter().find(|cell| cell.task == task.name).map_or("", |cell| cell.primary_metric);
    let primary = plan.primary.get(&task.name).map_or_else(own, String::as_str);
    match quantity {
        // Running text has no right answers.
        quantity if quantity.is_accuracy() => task.kind != Scoring::RunningText && !is_loss(primary),
        Quantity::LogLikelihood | Quantity::LogLikelihoodLost => primary == LOSS,
        _ => true,
    }
}

/// Tasks that run on both sides, that both sides select and whose primary metric is what is compared.
fn tasks(entry: &Comparison, lower: &Arm, higher: &Arm, plan: &ExperimentPlan) -> Vec<String> {
    let runs = |arm: &Arm, task: &str| {
        let mut own = arm.0.iter().filter(|&&trial| plan.trials[trial].has_task(task)).peekable();
        own.peek().is_some() && own.all(|&trial| plan.cells.iter().any(|cell| cell.trial == trial && cell.task == task))
    };
    let tasks = plan.tasks.iter().filter(|task| {
        is_measured(entry.quantity, task, plan)
            && [(lower, &entry.lower), (higher, &entry.higher)].into_iter().all(|(arm, side)| {
                matching::matches(side, &plan.trials[arm.0[0]], task, false) && runs(arm, &task.name)
            })
    });
    tasks.map(|task| task.name.clone()).collect()
}

fn names(side: &Selector, axis: Axis) -> bool {
    side.conditions.iter().any(|condition| match condition {
        Condition::Model(_) => axis == Axis::Model,
        Condition::Protocol(_) => axis == Axis::Protocol,
        Condition::Positions(_) => axis == Axis::Positions,
        Condition::NamedSites(_) | Condition::Sites(_) => axis == Axis::Sites,
        Condition::FlopsReduction(_) | Condition::AchievedReduction(_) | Condition::KeepRatio(_) => {
            axis == Axis::Amount
        }
        Condition::Task(_) | Condition::Strategy(_) | Condition::Option(..) | Condition::Seed(_) => false,
    })
}

/// A trial on an axis, in words; none where it has no such thing.
pub(super) fn value(trial: &PlannedTrial, axis: Axis) -> Option<String> {
    match axis {
        Axis::Model => Some(trial.key.model.clone()),
        Axis::Protocol => Some(trial.key.protocol.clone()),
        Axis::Positions => trial.positions.map(|positions| positions.name().to_owned()),
        Axis::Sites => trial.amount.map(|_| trial.key.schedule.clone()),
        Axis::Amount => trial.amount.map(|amount| match amount {
            Amount::FlopsReduction(share) => {
                format!("{} % nominal FLOPs reduction", report::text::number(percent(share)))
            }
            Amount::AchievedReduction(share) | Amount::Calibrated(share) => {
                format!("{} % achieved FLOPs reduction", report::text::number(percent(share)))
            }
            Amount::KeepRatio(share) => format!("keep_ratio {}", report::text::number(share)),
            Amount::Free => "free counts".to_owned(),
        }),
    }
}

/// Without the digits that a product in binary adds.
fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

/// Strategy, the options that select it, and whatever tells it from the other side.
fn label(trial: &PlannedTrial, side: &Selector, free: impl Fn(Axis) -> bool) -> String {
    let options = side.conditions.iter().filter_map(|condition| match condition {
        Condition::Option(name, _) => trial.strategy.options.get(name).map(|value| match value {
            OptionValue::Word(word) => word.clone(),
            number => format!("{name} {number}"),
        }),
        _ => None,
    });
    let axes = [Axis::Model, Axis::Protocol, Axis::Positions, Axis::Sites, Axis::Amount];
    let axes = axes.into_iter().filter(|axis| free(*axis)).filter_map(|axis| value(trial, axis));
    let words: Vec<String> = options.chain(axes).collect();
    let name = &trial.key.strategy;
    if words.is_empty() { name.clone() } else { format!("{name} ({})", words.join(", ")) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::fake::{CATALOG, edited};
    use crate::config::{load, load_str};
    use crate::plan::{Setting, build};

    fn claim(grid: &str, entry: &str) -> Result<PlannedClaim, GridError> {
        let text = edited(&format!("{grid}\nclaim:\n  expect: something\n  decide: [{{ {entry}, margin: 2 }}]"));
        let experiment = load_str("x.yaml", &text, &CATALOG).unwrap_or_else(|error| panic!("{}", error.render()));
        build(&experiment, &Setting::default(), &CATALOG).map(|plan| plan.claim.unwrap())
    }

    /// Every comparison as `where: lower < higher`.
    fn words(claim: &PlannedClaim) -> Vec<String> {
        let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let words = |c: &PlannedComparison| {
            format!("{} {} {}: {} < {}", word(&c.model), word(&c.protocol), c.setting, c.lower.label, c.higher.label)
        };
        claim.comparisons.iter().map(words).collect()
    }

    const GRID: &str = "protocols: [context, upstream]\n\
        strategies: [dense, { random: { seeds: [0, 1] } }, { top_k: { importance: [clip, l1] } }]\n\
        schedule: { sites: paper, flops_reduction: [0.1, 0.2] }";

    #[test]
    fn what_neither_side_names_is_the_same_on_both() {
        let claim = claim(GRID, "lower: { strategy: random }, higher: { strategy: top_k, importance: clip }").unwrap();
        assert_eq!(
            words(&claim),
            [
                "builtin:mamba2-world context 10 % nominal FLOPs reduction: random < top_k (clip)",
                "builtin:mamba2-world context 20 % nominal FLOPs reduction: random < top_k (clip)",
                "builtin:mamba2-world upstream 10 % nominal FLOPs reduction: random < top_k (clip)",
                "builtin:mamba2-world upstream 20 % nominal FLOPs reduction: random < top_k (clip)",
            ]
        );
        // Seeds are one arm, and the baseline, which is not reduced, meets every reduction.
        assert_eq!(claim.comparisons[0].lower.trials.len(), 2);
        let dense =
            self::claim(GRID, "lower: { strategy: top_k, flops_reduction: 0.2 }, higher: { strategy: dense }").unwrap();
        assert_eq!(dense.comparisons.len(), 4, "two importances under two protocols: {:?}", words(&dense));
    }

    #[test]
    fn what_both_sides_name_may_differ() {
        let sides = "lower: { strategy: random, protocol: upstream }, higher: { strategy: random, protocol: context }";
        let claim = claim(GRID, sides).unwrap();
        assert_eq!(
            words(&claim),
            [
                "builtin:mamba2-world - 10 % nominal FLOPs reduction: random (upstream) < random (context)",
                "builtin:mamba2-world - 20 % nominal FLOPs reduction: random (upstream) < random (context)",
            ]
        );
    }

    #[test]
    fn a_side_that_does_not_run_is_refused() {
        let excluded = format!("{GRID}\nexclude: [{{ strategy: random }}]");
        let sides = "lower: { strategy: random }, higher: { strategy: dense }";
        let error = claim(&excluded, sides).unwrap_err();
        assert!(error.to_string().contains("no trial that runs is {strategy: random}"), "{error}");
        let apart = "lower: { strategy: random, flops_reduction: 0.1 }, higher: { strategy: top_k, protocol: upstream, keep_ratio: 0.9 }";
        let mixed =
            format!("{GRID}\nschedule: [{{ sites: paper, flops_reduction: 0.1 }}, {{ sites: [3], keep_ratio: 0.9 }}]");
        let error = claim(&mixed, apart).unwrap_err();
        assert!(error.to_string().contains("in common"), "{error}");
    }

    #[test]
    fn what_cannot_be_decided_is_refused_with_its_reason() {
        let sides = "lower: { strategy: random }, higher: { strategy: dense }";
        let error = claim(GRID, &format!("{sides}, quantity: log_likelihood")).unwrap_err();
        assert!(error.to_string().contains("no task has `log_likelihood` from its primary metric"), "{error}");
        let losses = format!("{GRID}\nprimary: loss");
        let error = claim(&losses, sides).unwrap_err();
        assert!(error.to_string().contains("no task has `accuracy` from its primary metric"), "{error}");
        assert!(claim(&losses, &format!("{sides}, quantity: log_likelihood")).is_ok());
        let error = claim(GRID, "lower: { strategy: random }, higher: { strategy: random }").unwrap_err();
        assert!(error.to_string().contains("both sides are {strategy: random}"), "{error}");
    }

    #[test]
    fn the_same_entry_twice_is_refused() {
        let entry = "lower: { strategy: random }, higher: { strategy: dense }";
        let twice = |second: &str| {
            let text = edited(&format!(
                "{GRID}\nclaim:\n  expect: something\n  decide: [{{ {entry}, margin: 2, name: a }}, {{ {second} }}]"
            ));
            load_str("x.yaml", &text, &CATALOG).map_err(|error| error.render())
        };
        let again = twice(&format!("{entry}, margin: 2, name: b")).unwrap_err();
        assert!(again.contains("entry 2 of `decide` is entry 1 again"), "{again}");
        let named = twice(&format!("{entry}, margin: 5, name: a")).unwrap_err();
        assert!(named.contains("entry 2 of `decide` has the name of entry 1"), "{named}");
        assert!(twice(&format!("{entry}, margin: -1, name: b")).is_ok(), "another margin is another question");
    }

    #[test]
    fn every_committed_claim_has_its_comparisons() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../experiments/claims");
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let experiment = load(&path, &CATALOG).unwrap_or_else(|error| panic!("{}", error.render()));
            let claim = build(&experiment, &Setting::default(), &CATALOG).unwrap().claim.expect("a claim");
            assert!(claim.comparisons.len() >= 4, "{}", path.display());
            files += 1;
        }
        assert_eq!(files, 21);
    }
}
