//! Bridges: the score of each arm, and its paired difference to the arm before it.

use records::bridge::{BridgeChain, BridgeStep, PlannedBridge};
use records::names::is_share;

use super::arms::{Arm, TaskMean, arms, comparable};
use super::labels::Labels;
use super::statistics::{Difference, Estimate};
use super::study::Study;
use super::terms::{Terms, terms};

/// A bridge with its scores.
pub struct BridgeResult {
    /// Its name.
    pub name: String,
    /// One per model, setting and score: the mean of the tasks that have accuracies, and each other task by itself.
    pub panels: Vec<BridgePanel>,
}

/// The arms of a chain by one score.
pub struct BridgePanel {
    /// The model.
    pub model: String,
    /// What else the arms have in common, in words.
    pub setting: String,
    /// The tasks that are averaged.
    pub tasks: Vec<String>,
    /// The primary metric of these tasks; the first where they differ.
    pub metric: String,
    /// Losses and perplexities.
    pub lower_is_better: bool,
    /// The arms, in order.
    pub arms: Vec<BridgeArm>,
}

/// One arm. Numbers are in the unit of [`BridgePanel::unit`].
pub struct BridgeArm {
    /// What changed from the arm before it, in words.
    pub factor: String,
    /// The rule, as figures and tables name it.
    pub rule: String,
    /// Protocol by which it is scored; empty where it did not finish.
    pub protocol: String,
    /// Its trials.
    pub trials: Vec<String>,
    /// What it scored; none where it did not finish on every task.
    pub result: Option<BridgeScore>,
}

/// What an arm scored.
pub struct BridgeScore {
    /// The score with its 95 % interval over items.
    pub estimate: Estimate,
    /// The same of the baseline under the same protocol; none where it did not finish.
    pub baseline: Option<f64>,
    /// Minus the arm before it, paired over items; none of the first, and where the arm before it did not finish on the same items.
    pub step: Option<Difference>,
    /// Minus the first arm.
    pub from_first: Option<Difference>,
    /// FLOPs reduction that was achieved, 0 to 1, mean over tasks.
    pub flops_reduction_achieved: f64,
    /// Whether that is as much as the arm before it achieved.
    pub terms: Terms,
}

impl BridgePanel {
    /// Unit of its numbers.
    pub fn unit(&self) -> &'static str {
        if is_share(&self.metric) {
            "points"
        } else if self.metric == "loss" || self.metric.ends_with("_loss") {
            "nats"
        } else {
            ""
        }
    }

    /// What tells it from the other panels of the bridge besides its model, in words: tasks and setting, where they differ.
    pub fn apart_from(&self, all: &[&Self]) -> Vec<String> {
        let tasks = all.iter().any(|other| other.tasks != self.tasks).then(|| match self.tasks.as_slice() {
            [task] => task.clone(),
            tasks => format!("{} tasks", tasks.len()),
        });
        let differs = all.iter().any(|other| other.setting != self.setting);
        let setting = differs.then(|| self.setting.replace(" FLOPs reduction", ""));
        tasks.into_iter().chain(setting).collect()
    }
}

/// The bridges of a study, in the order of its file.
pub fn bridges(study: &Study) -> Vec<BridgeResult> {
    if study.plan.bridges.is_empty() {
        return Vec::new();
    }
    let (arms, labels) = (arms(study), Labels::of(study));
    let result = |bridge: &PlannedBridge| BridgeResult {
        name: bridge.name.clone(),
        panels: bridge.chains.iter().flat_map(|chain| panels(chain, &arms, &labels)).collect(),
    };
    study.plan.bridges.iter().map(result).collect()
}

fn arm_of<'a>(step: &BridgeStep, arms: &'a [Arm]) -> Option<&'a Arm> {
    let arm = arms.iter().find(|arm| arm.trials.iter().any(|id| step.trials.contains(id)))?;
    step.trials.iter().all(|id| arm.trials.contains(id)).then_some(arm)
}

/// A mean over losses would mix recall with fluency.
fn panels(chain: &BridgeChain, arms: &[Arm], labels: &Labels) -> Vec<BridgePanel> {
    let found: Vec<Option<&Arm>> = chain.steps.iter().map(|step| arm_of(step, arms)).collect();
    let known = |task: &String| found.iter().flatten().find_map(|arm| arm.task(task));
    let mut groups: Vec<Vec<String>> = Vec::new();
    let accuracies: Vec<String> =
        chain.tasks.iter().filter(|task| known(task).is_some_and(|result| !result.lower_is_better)).cloned().collect();
    groups.extend((!accuracies.is_empty()).then_some(accuracies));
    let lower = chain.tasks.iter().filter(|task| known(task).is_some_and(|result| result.lower_is_better));
    groups.extend(lower.map(|task| vec![task.clone()]));
    groups
        .into_iter()
        .filter_map(|tasks| {
            let first = known(&tasks[0])?;
            let (metric, lower_is_better) = (first.metric.clone(), first.lower_is_better);
            let scale = if is_share(&metric) { 100.0 } else { 1.0 };
            Some(BridgePanel {
                model: chain.model.clone(),
                setting: chain.setting.clone(),
                arms: scores(chain, &found, arms, labels, &tasks, scale),
                tasks,
                metric,
                lower_is_better,
            })
        })
        .collect()
}

fn scores(
    chain: &BridgeChain,
    found: &[Option<&Arm>],
    arms: &[Arm],
    labels: &Labels,
    tasks: &[String],
    scale: f64,
) -> Vec<BridgeArm> {
    let means: Vec<Option<TaskMean>> = found.iter().map(|arm| arm.and_then(|arm| arm.mean_over(tasks))).collect();
    let minus = |index: usize, other: usize| {
        let ((own, own_mean), (other, other_mean)) =
            ((found[index]?, means[index].as_ref()?), (found[other]?, means[other].as_ref()?));
        same_items(own, other, tasks).then(|| scaled_difference(own_mean.minus(other_mean), scale))
    };
    let steps = chain.steps.iter().enumerate();
    steps
        .map(|(index, step)| {
            let before = index.checked_sub(1);
            let result = found[index].zip(means[index].as_ref()).map(|(arm, mean)| {
                let achieved = mean.flops_reduction_achieved;
                let earlier = before.and_then(|before| Some((found[before]?, means[before].as_ref()?)));
                let terms = earlier.map_or(Terms::Unknown, |(other, other_mean)| {
                    terms((other_mean.flops_reduction_achieved, other.reduces()), (achieved, arm.reduces()))
                });
                let baseline = arms.iter().find(|other| other.is_baseline && comparable(&other.trial, &arm.trial));
                BridgeScore {
                    estimate: scaled(mean.estimate, scale),
                    baseline: baseline.and_then(|other| other.mean_over(tasks)).map(|mean| mean.estimate.value * scale),
                    step: before.and_then(|before| minus(index, before)),
                    from_first: before.and_then(|_| minus(index, 0)),
                    flops_reduction_achieved: achieved,
                    terms,
                }
            });
            BridgeArm {
                factor: step.factor.clone(),
                rule: found[index].map_or_else(|| step.label.clone(), |arm| labels.label(&arm.trial)),
                protocol: found[index].map_or_else(String::new, |arm| arm.trial.protocol.clone()),
                trials: step.trials.clone(),
                result,
            }
        })
        .collect()
}

/// Replicates are paired only where both sides scored the same items by the same metric.
fn same_items(a: &Arm, b: &Arm, tasks: &[String]) -> bool {
    let pairs = tasks.iter().map(|task| a.task(task).zip(b.task(task)));
    pairs.into_iter().all(|pair| pair.is_some_and(|(a, b)| a.items_key == b.items_key && a.metric == b.metric))
}

fn scaled(estimate: Estimate, scale: f64) -> Estimate {
    let Estimate { n, value, stderr, mut interval } = estimate;
    (interval.low, interval.high) = (interval.low * scale, interval.high * scale);
    Estimate { n, value: value * scale, stderr: stderr * scale, interval }
}

fn scaled_difference(difference: Difference, scale: f64) -> Difference {
    let Difference { value, mut interval, p_value } = difference;
    (interval.low, interval.high) = (interval.low * scale, interval.high * scale);
    Difference { value: value * scale, interval, p_value }
}
