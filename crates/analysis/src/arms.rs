//! Pools the seeds of a trial into one *arm*, and tasks into their mean.
//!
//! Figures and tables show arms. An arm of one seed has exactly the numbers of its trial.

use std::collections::BTreeMap;
use std::sync::Arc;

use records::schema::TrialKey;

use super::statistics::{
    Contributions, Difference, Estimate, difference_of_replicates, estimate_from_replicates, mean_of_shares,
    share_of_seeds,
};
use super::study::{Cell, Study};

/// Trials that differ by nothing but their seed, or by their task where a reduction is achieved on each.
pub struct Arm {
    /// The first trial. Its keep ratio is that of one task where a reduction is achieved on each.
    pub trial: TrialKey,
    /// Ids of the trials with at least one finished task.
    pub trials: Vec<String>,
    /// Seeds with at least one finished task, in the order of the plan.
    pub seeds: Vec<u64>,
    /// Whether it is of the strategy that every other one is compared to.
    pub is_baseline: bool,
    /// Finished tasks with a value of their primary metric, in the order of the plan.
    pub tasks: Vec<ArmTask>,
    /// Finished tasks without one.
    pub without_value: Vec<NoValue>,
}

/// A finished task whose primary metric counts nothing of what was scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoValue {
    /// Task name.
    pub task: String,
    /// Name of the metric.
    pub metric: String,
}

impl NoValue {
    /// Why there is no value, in words.
    pub fn reason(&self) -> String {
        format!("no token that is scored counts for `{}`", self.metric)
    }
}

/// The primary metric of an arm on one task.
pub struct ArmTask {
    /// Task name.
    pub task: String,
    /// Name of the metric.
    pub metric: String,
    /// Perplexities; everything else is better when higher.
    pub lower_is_better: bool,
    /// FLOPs reduction that was achieved, 0 to 1, mean over seeds.
    pub flops_reduction_achieved: f64,
    /// Mean over seeds of the value, with its interval over items.
    pub estimate: Estimate,
    /// To the baseline arm, on the same items.
    pub difference: Option<Difference>,
    /// The value over the task's resamples of items.
    pub replicates: Arc<Vec<f32>>,
    /// Hash of the items in the order of the resamples; equal hashes make replicates paired.
    pub items_key: u64,
    /// What it took, mean over seeds.
    pub cost: ArmCost,
}

/// What an arm took on a task.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ArmCost {
    /// Seconds, the median where it was repeated; a share of common work where cells ran together ([`Basis`](crate::Basis)).
    pub wall_s: f64,
    /// Repeats that were timed, the fewest of a seed; 0 where a cell ran once.
    pub repeats: usize,
    /// Seconds of the fastest and of the slowest repeat.
    pub repeats_s: (f64, f64),
    /// FLOPs executed.
    pub flops: f64,
    /// Tokens that entered.
    pub tokens_in: u64,
}

/// The mean of an arm over tasks.
pub struct TaskMean {
    /// FLOPs reduction that was achieved, 0 to 1, mean over tasks.
    pub flops_reduction_achieved: f64,
    /// `n` counts the items of all tasks.
    pub estimate: Estimate,
    /// The mean over the resamples of items.
    pub replicates: Vec<f64>,
}

impl Arm {
    /// Whether it reduces anything anywhere.
    pub fn reduces(&self) -> bool {
        !self.trial.sites.is_empty()
    }

    /// Mean of the achieved reductions over the tasks that finished; none where none did.
    pub fn achieved(&self) -> Option<f64> {
        let achieved = self.tasks.iter().map(|task| task.flops_reduction_achieved);
        (!self.tasks.is_empty()).then(|| achieved.sum::<f64>() / self.tasks.len() as f64)
    }

    /// The arm's result on a task.
    pub fn task(&self, task: &str) -> Option<&ArmTask> {
        self.tasks.iter().find(|result| result.task == task)
    }

    /// Mean over `tasks`, each with the same weight; none where one of them is missing.
    ///
    /// Resamples of different tasks are independent draws, so the means of the replicates are those of a bootstrap stratified
    /// by task; they serve differences. The interval of the mean itself comes from those of the tasks.
    pub fn mean_over(&self, tasks: &[String]) -> Option<TaskMean> {
        let results: Vec<&ArmTask> = tasks.iter().map(|task| self.task(task)).collect::<Option<_>>()?;
        let draws = results.first()?.replicates.len();
        let share = 1.0 / results.len() as f64;
        let mut replicates = vec![0.0; draws];
        for result in &results {
            for (sum, &x) in replicates.iter_mut().zip(result.replicates.iter()) {
                *sum += f64::from(x) * share;
            }
        }
        let parts: Vec<Estimate> = results.iter().map(|result| result.estimate).collect();
        Some(TaskMean {
            flops_reduction_achieved: results.iter().map(|r| r.flops_reduction_achieved).sum::<f64>() * share,
            estimate: mean_of_shares(&parts, &replicates),
            replicates,
        })
    }
}

impl ArmTask {
    /// Paired difference to another arm on the same task; none where the items are not the same.
    pub fn minus(&self, other: &Self) -> Option<Difference> {
        if self.items_key != other.items_key || self.metric != other.metric {
            return None;
        }
        let widen = |replicates: &[f32]| replicates.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let value = self.estimate.value - other.estimate.value;
        Some(difference_of_replicates(value, &widen(&self.replicates), &widen(&other.replicates)))
    }
}

impl TaskMean {
    /// Paired difference of the means; the callers see to it that both are over the same tasks.
    pub fn minus(&self, other: &Self) -> Difference {
        let value = self.estimate.value - other.estimate.value;
        difference_of_replicates(value, &self.replicates, &other.replicates)
    }
}

/// All arms of a study that have results, in the order of the plan.
pub fn arms(study: &Study) -> Vec<Arm> {
    let mut order: Vec<Vec<&Cell>> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for cell in study.cells.iter().filter(|cell| cell.is_done()) {
        let index = *known.entry(pooling_key(&cell.record.trial)).or_insert_with(|| {
            order.push(Vec::new());
            order.len() - 1
        });
        order[index].push(cell);
    }
    let mut arms: Vec<Arm> = order.iter().map(|cells| pool(cells, &study.plan.baseline)).collect();
    compare_to_baseline(&mut arms);
    arms
}

/// Everything about a trial except its identity and its seed, and the keep ratio or threshold where it was found task by task.
pub(crate) fn pooling_key(trial: &TrialKey) -> String {
    let mut trial = trial.arm();
    trial.strategy_params = params_without_seed(&trial.strategy_params);
    format!("{trial:?}")
}

/// The options of a strategy without a seed, should it list one among them.
fn params_without_seed(params: &str) -> String {
    match serde_json::from_str::<BTreeMap<String, serde_json::Value>>(params) {
        Ok(mut options) => {
            options.remove("seed");
            format!("{options:?}")
        }
        Err(_) => params.to_owned(),
    }
}

fn pool(cells: &[&Cell], baseline: &str) -> Arm {
    let trial = cells[0].record.trial.clone();
    let (mut seeds, mut trials): (Vec<u64>, Vec<String>) = (Vec::new(), Vec::new());
    let mut tasks: Vec<(&str, Vec<&Cell>)> = Vec::new();
    for &cell in cells {
        let TrialKey { seed, trial_id, .. } = &cell.record.trial;
        if !seeds.contains(seed) {
            seeds.push(*seed);
        }
        if !trials.contains(trial_id) {
            trials.push(trial_id.clone());
        }
        match tasks.iter_mut().find(|(task, _)| *task == cell.record.task) {
            // Seeds can only be averaged over the same items.
            Some((_, members)) if members[0].items_key == cell.items_key => members.push(cell),
            Some(_) => {}
            None => tasks.push((&cell.record.task, vec![cell])),
        }
    }
    let is_baseline = trial.strategy == baseline;
    let (mut with_value, mut without_value) = (Vec::new(), Vec::new());
    for (task, cells) in tasks {
        match pool_task(&cells) {
            Some(result) => with_value.push(result),
            None => {
                without_value.push(NoValue { task: task.to_owned(), metric: cells[0].record.primary_metric.clone() });
            }
        }
    }
    Arm { trial, trials, seeds, is_baseline, tasks: with_value, without_value }
}

fn pool_task(cells: &[&Cell]) -> Option<ArmTask> {
    let first = cells[0];
    let metric = first.record.primary_metric.clone();
    let of = |cell: &Cell| cell.metrics.iter().position(|m| m.metric == metric);
    let position = of(first)?;
    let lower_is_better = first.record.metrics[position].lower_is_better();
    let single = &first.metrics[position];
    let seeds = cells.len() as f64;
    let (estimate, difference, replicates) = if cells.len() == 1 {
        (single.estimate, single.difference, Arc::clone(&first.replicates))
    } else {
        let mut mean = vec![0.0_f64; first.replicates.len()];
        for cell in cells {
            for (sum, &x) in mean.iter_mut().zip(cell.replicates.iter()) {
                *sum += f64::from(x) / seeds;
            }
        }
        let value =
            cells.iter().filter_map(|cell| of(cell).map(|position| cell.metrics[position].estimate.value)).sum::<f64>()
                / seeds;
        let n = single.estimate.n;
        let is_share = |cell: &&Cell| {
            let metric = of(cell).map(|position| &cell.record.metrics[position]);
            metric.is_some_and(|m| Contributions::of_items(m, 0..m.contributions.len()).is_share())
        };
        // The same rule as that of the trials beside it.
        let estimate = if cells.iter().all(is_share) {
            share_of_seeds(n, cells.len(), value, &mean)
        } else {
            estimate_from_replicates(n, value, &mean)
        };
        (estimate, None, Arc::new(mean.into_iter().map(|x| x as f32).collect()))
    };
    Some(ArmTask {
        task: first.record.task.clone(),
        metric,
        lower_is_better,
        flops_reduction_achieved: cells.iter().map(|c| c.record.cost.flops_reduction_achieved).sum::<f64>() / seeds,
        estimate,
        difference,
        replicates,
        items_key: first.items_key,
        cost: cost(cells),
    })
}

fn cost(cells: &[&Cell]) -> ArmCost {
    let repeats = cells.iter().map(|cell| cell.record.cost.repeats_s.len()).min().unwrap_or(0);
    let mut mean = ArmCost { repeats, ..ArmCost::default() };
    for cost in cells.iter().map(|cell| &cell.record.cost) {
        let share = |value: f64| value / cells.len() as f64;
        let (low, high) = cost.repeats_s.iter().fold((cost.wall_s, cost.wall_s), |(l, h), s| (l.min(*s), h.max(*s)));
        mean.wall_s += share(cost.wall_s);
        mean.repeats_s = (mean.repeats_s.0 + share(low), mean.repeats_s.1 + share(high));
        mean.flops += share(cost.flops_executed);
        mean.tokens_in = mean.tokens_in.max(cost.tokens_in);
    }
    mean
}

/// Fills in the differences that pooling over seeds left open.
fn compare_to_baseline(arms: &mut [Arm]) {
    let mut missing = Vec::new();
    for (index, arm) in arms.iter().enumerate().filter(|(_, arm)| !arm.is_baseline) {
        let baseline = arms.iter().find(|other| other.is_baseline && comparable(&other.trial, &arm.trial));
        let Some(baseline) = baseline else { continue };
        for (position, result) in arm.tasks.iter().enumerate().filter(|(_, result)| result.difference.is_none()) {
            if let Some(difference) = baseline.task(&result.task).and_then(|base| result.minus(base)) {
                missing.push((index, position, difference));
            }
        }
    }
    for (index, position, difference) in missing {
        arms[index].tasks[position].difference = Some(difference);
    }
}

/// Whether two trials may be compared: same model, protocol, split and limit.
pub fn comparable(a: &TrialKey, b: &TrialKey) -> bool {
    a.model == b.model && a.protocol == b.protocol && a.split == b.split && a.limit == b.limit
}

#[cfg(test)]
mod tests {
    use records::Split;

    use super::*;
    use crate::statistics::Interval;

    fn trial(seed: u64, params: &str) -> TrialKey {
        TrialKey {
            trial_id: format!("id{seed}"),
            experiment: "e".to_owned(),
            model: "m".to_owned(),
            strategy: "random".to_owned(),
            strategy_params: params.to_owned(),
            importance: None,
            importance_source: None,
            schedule: "paper".to_owned(),
            sites: vec![1],
            keep_ratio: Some(0.9),
            flops_reduction_nominal: Some(0.1),
            flops_reduction_asked: None,
            calibration: None,
            protocol: "context".to_owned(),
            seed,
            split: Split::All,
            limit: None,
            device: "cpu".to_owned(),
            dtype: "f32".to_owned(),
        }
    }

    fn result(task: &str, value: f64, replicates: &[f32]) -> ArmTask {
        ArmTask {
            task: task.to_owned(),
            metric: "acc".to_owned(),
            lower_is_better: false,
            flops_reduction_achieved: value / 10.0,
            estimate: Estimate { n: 4, value, stderr: 0.0, interval: Interval { low: value, high: value } },
            difference: None,
            replicates: Arc::new(replicates.to_vec()),
            items_key: 1,
            cost: ArmCost::default(),
        }
    }

    #[test]
    fn seeds_are_pooled_and_options_are_not() {
        assert_eq!(pooling_key(&trial(0, "{}")), pooling_key(&trial(1, "{}")));
        assert_eq!(pooling_key(&trial(0, r#"{"seed":0}"#)), pooling_key(&trial(1, r#"{"seed":1}"#)));
        assert_ne!(pooling_key(&trial(0, r#"{"q":0.5}"#)), pooling_key(&trial(0, r#"{"q":1.0}"#)));
    }

    #[test]
    fn the_mean_over_tasks_weighs_tasks_equally() {
        let tasks = vec![result("a", 0.5, &[0.25, 0.75]), result("b", 1.0, &[1.0, 0.5])];
        let arm = Arm {
            trial: trial(0, "{}"),
            trials: Vec::new(),
            seeds: vec![0],
            is_baseline: false,
            tasks,
            without_value: Vec::new(),
        };
        let names = ["a".to_owned(), "b".to_owned()];
        let mean = arm.mean_over(&names).expect("both tasks finished");
        assert!((mean.estimate.value - 0.75).abs() < 1e-12);
        assert_eq!(mean.estimate.n, 8);
        assert!((mean.flops_reduction_achieved - 0.075).abs() < 1e-12);
        assert!(mean.replicates.iter().all(|x| (x - 0.625).abs() < 1e-6));
        assert!(arm.mean_over(&["a".to_owned(), "c".to_owned()]).is_none());
    }

    #[test]
    fn other_items_cannot_be_compared() {
        let (a, mut b) = (result("a", 0.5, &[0.5, 0.5]), result("a", 0.25, &[0.25, 0.5]));
        assert!((a.minus(&b).expect("same items").value - 0.25).abs() < 1e-12);
        b.items_key = 2;
        assert!(a.minus(&b).is_none());
    }
}
