//! Two rules side by side, item by item: from two results folders, or two strategies of one.

mod pick;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hint::Hint;
use records::identity::changes;
use records::names::is_loss;
use records::schema::{CellRecord, MetricRecord, Status, TrialKey, in_words};
use thiserror::Error;

use super::arms::pooling_key;
use super::error::AnalyseError;
use super::input::{self, Recorded};
use super::partners::Places;
use super::statistics::{Contributions, Difference, ResampleBank, difference_of_replicates, holm, paired_difference};
use super::terms::are_equal;

pub use pick::Pick;
pub use rows::{CompareRow, frame, rows};

/// Why two rules cannot be compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A folder could not be read.
    #[error(transparent)]
    Read(#[from] AnalyseError),
    /// Data, weights or tokenizers are not the same.
    #[error("the folders were not made from the same things: {what}")]
    Changed {
        /// What differs.
        what: String,
    },
    /// A task whose items are not the same on both sides.
    #[error("the items of {task} are not the same: {only_a} are only in the first, {only_b} only in the second")]
    Items {
        /// The task.
        task: String,
        /// Items that the second side lacks.
        only_a: usize,
        /// Items that the first side lacks.
        only_b: usize,
    },
    /// Two items of one id, so that neither can be paired.
    #[error("the id `{id}` stands twice among the items of {task}")]
    Repeated {
        /// The task.
        task: String,
        /// The id.
        id: String,
    },
    /// Nothing, or too much, to pair.
    #[error("{problem}")]
    Pairs {
        /// What is the matter.
        problem: String,
        /// What to do.
        hint: String,
    },
}

impl Hint for CompareError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.hint(),
            Self::Changed { .. } => {
                Some("run both with the same models and data; only then are items paired".to_owned())
            }
            Self::Items { .. } => Some("run both with the same `limit`".to_owned()),
            Self::Repeated { .. } => {
                Some("give every row of the task's data an id of its own, and run both again".to_owned())
            }
            Self::Pairs { hint, .. } => Some(hint.clone()),
        }
    }
}

/// The finished cells of one arm by task.
struct SideArm<'a> {
    trial: &'a TrialKey,
    tasks: BTreeMap<&'a str, Vec<&'a CellRecord>>,
}

/// Two arms on one point of the grid.
pub struct Pair {
    /// The model.
    pub model: String,
    /// The protocol.
    pub protocol: String,
    /// Sites and the reduction that was asked for, in words.
    pub setting: String,
    /// Strategies with their options.
    pub labels: [String; 2],
    /// One row per task.
    pub rows: Vec<Row>,
    /// Their mean, where there are several.
    pub mean: Option<Row>,
}

impl Pair {
    /// The row that decides: the mean over tasks, or the one task. None where no task has finished on both sides.
    pub fn verdict(&self) -> Option<&Row> {
        self.mean.as_ref().or(self.rows.last())
    }
}

/// One task, or the mean over tasks. Differences are the second side minus the first.
pub struct Row {
    /// Name of the task.
    pub task: String,
    /// Name of the metric.
    pub metric: String,
    /// Items.
    pub n: usize,
    /// FLOPs reduction that both sides achieved.
    pub achieved: [f64; 2],
    /// Values of both sides.
    pub values: [f64; 2],
    /// Difference of the values.
    pub difference: f64,
    /// Its 95 % interval.
    pub interval: [f64; 2],
    /// Two-sided p-value: exact `McNemar` for shares of items of one seed, otherwise bootstrap.
    pub p_value: f64,
    /// The same with Holm's correction over all pairs that are compared at once: over the last rows of the pairs where this is one, over
    /// the other rows where it is not. None where the sides are not on equal terms, which are no comparisons.
    pub p_holm: Option<f64>,
    /// Items on which the second side is better, and worse.
    pub signs: [usize; 2],
    /// Whether lower values are better.
    pub lower_is_better: bool,
}

impl Row {
    /// Whether both sides removed as much: otherwise the difference is not one of the rules alone.
    pub fn is_on_equal_terms(&self) -> bool {
        are_equal(self.achieved[0], self.achieved[1])
    }
}

/// Compares what `a` takes of the first folder with what each of `b` takes of the second. Without them, arms of the same strategy and
/// options are compared, or the one strategy of each folder besides its baseline.
///
/// # Errors
/// Folders that cannot be read, were made from different things, or have nothing to pair.
pub fn compare(first: &Path, second: &Path, a: Option<&Pick>, b: &[Pick]) -> Result<Vec<Pair>, CompareError> {
    let (first, second) = (input::read(first)?, input::read(second)?);
    if let Some(change) = changes(&first.plan.digests, &second.plan.digests).first() {
        return Err(CompareError::Changed { what: change.to_string() });
    }
    if let Some(twice) = b.iter().enumerate().find_map(|(index, pick)| b[..index].contains(pick).then_some(pick)) {
        return Err(CompareError::Pairs {
            problem: format!("`{twice}` is given twice"),
            hint: "every comparison is corrected for all others: name each strategy once".to_owned(),
        });
    }
    let mut pairs = Vec::new();
    match b {
        [] => pairs = pairs_of(&first, &second, a, None)?,
        several => {
            for b in several {
                pairs.extend(pairs_of(&first, &second, a, Some(b))?);
            }
        }
    }
    correct(&mut pairs);
    Ok(pairs)
}

/// Corrects the p-values of all pairs: those of verdicts for each other, and those of the further rows.
fn correct(pairs: &mut [Pair]) {
    let (mut verdicts, mut further): (Vec<&mut Row>, Vec<&mut Row>) = (Vec::new(), Vec::new());
    for pair in pairs {
        let mut rows: Vec<&mut Row> = pair.rows.iter_mut().chain(&mut pair.mean).collect();
        verdicts.extend(rows.pop());
        further.extend(rows);
    }
    for mut family in [verdicts, further] {
        let p_values: Vec<f64> =
            family.iter().map(|row| if row.is_on_equal_terms() { row.p_value } else { f64::NAN }).collect();
        for (row, adjusted) in family.iter_mut().zip(holm(&p_values)) {
            row.p_holm = (!adjusted.is_nan()).then_some(adjusted);
        }
    }
}

fn pairs_of(
    first: &Recorded,
    second: &Recorded,
    a: Option<&Pick>,
    b: Option<&Pick>,
) -> Result<Vec<Pair>, CompareError> {
    let (left, right) = (arms(first, a)?, arms(second, b)?);
    let kinds = |arms: &[SideArm]| arms.iter().map(|arm| label(arm.trial)).collect::<BTreeSet<String>>();
    let (left_kinds, right_kinds) = (kinds(&left), kinds(&right));
    let free = a.is_some() || b.is_some() || (left_kinds.len() == 1 && right_kinds.len() == 1);
    let mut pairs = Vec::new();
    for l in &left {
        for r in right.iter().filter(|r| point(l.trial) == point(r.trial)) {
            let same = label(l.trial) == label(r.trial);
            if (free || same) && (l.trial.split, l.trial.limit) != (r.trial.split, r.trial.limit) {
                return Err(limits(l.trial, r.trial));
            }
            if free || same {
                pairs.push(pair(l, r, first.plan.seed)?);
            }
        }
    }
    let is_baseline = |recorded: &Recorded, arms: &[SideArm]| {
        arms.iter().all(|arm| arm.trial.strategy == recorded.plan.baseline && arm.trial.sites.is_empty())
    };
    if pairs.is_empty() && (is_baseline(first, &left) != is_baseline(second, &right)) {
        let baseline = &first.plan.baseline;
        return Err(CompareError::Pairs {
            problem: format!(
                "`{baseline}` reduces nothing, so it has no partner: rules are compared at the same sites and keep ratio"
            ),
            hint: format!(
                "the differences of every strategy to `{baseline}` are in report.md and trials.parquet; name two that reduce"
            ),
        });
    }
    if pairs.is_empty() {
        let list = |kinds: BTreeSet<String>| kinds.into_iter().collect::<Vec<_>>().join(", ");
        return Err(CompareError::Pairs {
            problem: "no trial of the first has a partner in the second: same model, protocol, sites and keep ratio"
                .to_owned(),
            hint: format!(
                "name the strategies with --a and --b; the first has {}; the second has {}",
                list(left_kinds),
                list(right_kinds)
            ),
        });
    }
    Ok(pairs)
}

fn limits(l: &TrialKey, r: &TrialKey) -> CompareError {
    let words = |trial: &TrialKey| {
        let items = trial.limit.map_or("all items".to_owned(), |limit| format!("limit {limit}"));
        if trial.split.is_all() { items } else { format!("{items} of split {}", trial.split) }
    };
    CompareError::Pairs {
        problem: format!("the items differ: {} in the first, {} in the second", words(l), words(r)),
        hint: "run both with the same `limit` and `split`".to_owned(),
    }
}

/// The arms that `pick` takes, or all but the baseline.
fn arms<'a>(recorded: &'a Recorded, pick: Option<&Pick>) -> Result<Vec<SideArm<'a>>, CompareError> {
    let mut order: Vec<(String, SideArm)> = Vec::new();
    for cell in recorded.cells.iter().filter(|cell| cell.status == Status::Done) {
        let wanted = match pick {
            Some(pick) => pick.takes(&cell.trial),
            None => cell.trial.strategy != recorded.plan.baseline,
        };
        if !wanted {
            continue;
        }
        // Names of experiments do not tell trials apart.
        let key = pooling_key(&TrialKey { experiment: String::new(), ..cell.trial.clone() });
        let place = order.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            order.push((key, SideArm { trial: &cell.trial, tasks: BTreeMap::new() }));
            order.len() - 1
        });
        order[place].1.tasks.entry(&cell.task).or_default().push(cell);
    }
    if order.is_empty() {
        // Of the same strategy its options are what was missed.
        let is_known = |cell: &CellRecord| pick.is_some_and(|pick| pick.strategy() == cell.trial.strategy);
        let of_strategy = recorded.cells.iter().any(is_known);
        let named = |cell: &CellRecord| {
            let trial = &cell.trial;
            if of_strategy { in_words(&trial.strategy, &trial.strategy_params) } else { trial.strategy.clone() }
        };
        let shown = recorded.cells.iter().filter(|cell| !of_strategy || is_known(cell));
        let strategies: BTreeSet<String> = shown.map(named).collect();
        let wanted = pick.map_or("a strategy besides the baseline".to_owned(), |pick| format!("`{pick}`"));
        return Err(CompareError::Pairs {
            problem: format!("`{}` has no finished trial of {wanted}", recorded.plan.experiment),
            hint: format!("it has {}", strategies.into_iter().collect::<Vec<_>>().join(", ")),
        });
    }
    Ok(order.into_iter().map(|(_, arm)| arm).collect())
}

/// Whether a reduction was asked for as achieved, and its bits or those of the keep ratio; none for a free count.
type AmountBits = (bool, Option<u64>);

/// What both sides must share.
pub(crate) fn point(trial: &TrialKey) -> (&str, &str, &str, &[usize], AmountBits, bool) {
    let compacted = trial.strategy_params.contains("\"positions\":\"compacted\"");
    // Keep ratios of one achieved reduction differ from task to task.
    let amount = trial.flops_reduction_asked.map_or((false, trial.keep_ratio), |asked| (true, Some(asked)));
    let amount = (amount.0, amount.1.map(f64::to_bits));
    (&trial.model, &trial.protocol, &trial.schedule, &trial.sites, amount, compacted)
}

pub(crate) fn label(trial: &TrialKey) -> String {
    in_words(&trial.strategy, &trial.strategy_params)
}

fn pair(l: &SideArm, r: &SideArm, seed: u64) -> Result<Pair, CompareError> {
    let mut rows = Vec::new();
    let mut replicates: Vec<[Vec<f64>; 2]> = Vec::new();
    for (task, left) in &l.tasks {
        let Some(right) = r.tasks.get(task) else { continue };
        let (left, right) = (Averaged::of(left)?, Averaged::of(right)?);
        let (Some(left), Some(right)) = (left, right) else { continue };
        let (row, own) = compare_task(task, &left, &right, seed)?;
        replicates.push(own);
        rows.push(row);
    }
    let mean = mean(&rows, &replicates);
    let trial = l.trial;
    let asked = trial.reduction();
    Ok(Pair {
        model: trial.model.clone(),
        protocol: trial.protocol.clone(),
        setting: format!("{}, {}", trial.schedule, asked.in_words(1)),
        labels: [label(l.trial), label(r.trial)],
        rows,
        mean,
    })
}

/// The primary metric of one arm on one task, averaged over seeds item by item.
struct Averaged {
    metric: MetricRecord,
    items: Vec<String>,
    achieved: f64,
}

impl Averaged {
    /// None where the record has no value of the primary metric.
    ///
    /// # Errors
    /// The seeds did not score the same items.
    fn of(cells: &[&CellRecord]) -> Result<Option<Self>, CompareError> {
        let first = cells[0];
        let items: Vec<String> = first.items.iter().map(|item| item.item_id.clone()).collect();
        let same = |cell: &&&CellRecord| cell.items.iter().map(|item| &item.item_id).eq(&items);
        if let Some(other) = cells.iter().find(|cell| !same(cell)) {
            let (task, trial) = (&first.task, &first.trial);
            return Err(CompareError::Pairs {
                problem: format!(
                    "seeds {} and {} of {} did not score the same items of {task}",
                    trial.seed,
                    other.trial.seed,
                    label(trial)
                ),
                hint: "run all seeds again with the same `limit` and data".to_owned(),
            });
        }
        Ok(Self::over(cells, items))
    }

    fn over(cells: &[&CellRecord], items: Vec<String>) -> Option<Self> {
        let first = cells[0];
        let primary = |cell: &'_ CellRecord| cell.metrics.iter().position(|m| m.metric == first.primary_metric);
        let share = 1.0 / cells.len() as f64;
        let mut metric = first.metrics[primary(first)?].clone();
        for contribution in &mut metric.contributions {
            *contribution = (0.0, contribution.1);
        }
        for cell in cells {
            let own = &cell.metrics[primary(cell)?];
            for (sum, (value, _)) in metric.contributions.iter_mut().zip(&own.contributions) {
                sum.0 += value * share;
            }
        }
        let achieved = cells.iter().map(|cell| cell.cost.flops_reduction_achieved * share).sum();
        Some(Self { metric, items, achieved })
    }
}

fn compare_task(
    task: &str,
    left: &Averaged,
    right: &Averaged,
    seed: u64,
) -> Result<(Row, [Vec<f64>; 2]), CompareError> {
    let [a, b] = [left, right].map(|side| Places::of(side.items.iter().map(String::as_str)));
    if let Some(id) = a.repeated().or_else(|| b.repeated()) {
        return Err(CompareError::Repeated { task: task.to_owned(), id: id.to_owned() });
    }
    // Every item of the left side has its partner where nothing is left over, so this is the order of that side.
    let partners: Vec<usize> = a.pairs(&b).into_iter().map(|(_, partner)| partner).collect();
    let (only_a, only_b) = (left.items.len() - partners.len(), right.items.len() - partners.len());
    if only_a + only_b > 0 {
        return Err(CompareError::Items { task: task.to_owned(), only_a, only_b });
    }
    let resamples = ResampleBank::new(seed, task).of(partners.len());
    let a = Contributions::of_items(&left.metric, 0..partners.len());
    let b = Contributions::of_items(&right.metric, partners.iter().copied());
    let Difference { value, interval, p_value } = paired_difference(&b, &a, None, &resamples);
    let lower_is_better = left.metric.lower_is_better();
    // Contributions to a perplexity are log-likelihoods: there, too, more is better. Those to a loss are nats.
    let sign = if is_loss(&left.metric.metric) { -1.0 } else { 1.0 };
    let better = |x: f64, y: f64| usize::from(sign * x > sign * y + 1e-12);
    let steps = a.values().iter().zip(b.values());
    let signs = steps.fold([0, 0], |[won, lost], (a, b)| [won + better(*b, *a), lost + better(*a, *b)]);
    let row = Row {
        task: task.to_owned(),
        metric: left.metric.metric.clone(),
        n: partners.len(),
        achieved: [left.achieved, right.achieved],
        values: [a.value(), b.value()],
        difference: value,
        interval: [interval.low, interval.high],
        p_value,
        p_holm: None,
        signs,
        lower_is_better,
    };
    let replicates = [a.replicates(&resamples), b.replicates(&resamples)];
    Ok((row, replicates))
}

/// Each accuracy task with the same weight or, where there is none, each task of a loss; none where that is not several. Resamples of tasks are
/// independent.
fn mean(rows: &[Row], replicates: &[[Vec<f64>; 2]]) -> Option<Row> {
    let of_losses = rows.iter().all(|row| row.lower_is_better);
    let counts = |row: &Row| if of_losses { is_loss(&row.metric) } else { !row.lower_is_better };
    let (rows, replicates): (Vec<&Row>, Vec<&[Vec<f64>; 2]>) =
        rows.iter().zip(replicates).filter(|(row, _)| counts(row)).unzip();
    // Nats per token and bits per byte have no mean.
    if rows.len() < 2 || (of_losses && rows.iter().any(|row| row.metric != rows[0].metric)) {
        return None;
    }
    let share = 1.0 / rows.len() as f64;
    let over = |of: &dyn Fn(&Row) -> f64| rows.iter().map(|row| of(row) * share).sum::<f64>();
    let side = |which: usize| {
        let draws = replicates[0][which].len();
        (0..draws).map(|draw| replicates.iter().map(|own| own[which][draw] * share).sum()).collect::<Vec<f64>>()
    };
    let value = over(&|row| row.difference);
    let difference = difference_of_replicates(value, &side(1), &side(0));
    Some(Row {
        task: "mean over tasks".to_owned(),
        metric: if of_losses { "loss" } else { "accuracy" }.to_owned(),
        n: rows.iter().map(|row| row.n).sum(),
        achieved: [0, 1].map(|which| over(&|row| row.achieved[which])),
        values: [0, 1].map(|which| over(&|row| row.values[which])),
        difference: value,
        interval: [difference.interval.low, difference.interval.high],
        p_value: difference.p_value,
        p_holm: None,
        signs: [0, 1].map(|which| rows.iter().map(|row| row.signs[which]).sum()),
        lower_is_better: of_losses,
    })
}

#[cfg(test)]
mod tests {
    use records::schema::Aggregate;

    use super::*;

    fn averaged(items: &[&str], values: &[f64]) -> Averaged {
        let contributions = values.iter().map(|value| (*value, 1.0)).collect();
        let metric = MetricRecord { metric: "acc".to_owned(), aggregate: Aggregate::Mean, contributions };
        Averaged { metric, items: items.iter().map(|item| (*item).to_owned()).collect(), achieved: 0.1 }
    }

    /// Two pairs with a mean and one with a task alone; one side is on other terms.
    #[test]
    fn verdicts_and_tasks_are_corrected_apart() {
        let row = |p_value: f64, achieved: f64| Row {
            task: "t".to_owned(),
            metric: "acc".to_owned(),
            n: 1,
            achieved: [0.1, achieved],
            values: [0.0; 2],
            difference: 0.0,
            interval: [0.0; 2],
            p_value,
            p_holm: None,
            signs: [0; 2],
            lower_is_better: false,
        };
        let pair = |rows: Vec<Row>, mean: Option<Row>| Pair {
            model: String::new(),
            protocol: String::new(),
            setting: String::new(),
            labels: [String::new(), String::new()],
            rows,
            mean,
        };
        let mut pairs = [
            pair(vec![row(0.03, 0.1), row(0.001, 0.2)], Some(row(0.01, 0.1))),
            pair(vec![row(0.04, 0.1)], None),
            pair(vec![row(0.02, 0.1), row(0.5, 0.1)], Some(row(0.0, 0.2))),
        ];
        correct(&mut pairs);
        let of = |pair: &Pair| pair.rows.iter().chain(&pair.mean).map(|row| row.p_holm).collect::<Vec<_>>();
        assert_eq!(of(&pairs[0]), [Some(0.06), None, Some(0.02)]);
        assert_eq!(of(&pairs[1]), [Some(0.04)]);
        assert_eq!(of(&pairs[2]), [Some(0.06), Some(0.5), None]);
        assert_eq!(rows(&pairs).len(), 7);
        assert_eq!(frame(&pairs).unwrap().shape(), (7, 21));
    }

    #[test]
    fn losses_have_a_mean_where_no_task_has_an_accuracy() {
        let row = |metric: &str, difference: f64, lower_is_better| Row {
            task: "t".to_owned(),
            metric: metric.to_owned(),
            n: 2,
            achieved: [0.1; 2],
            values: [1.0, 1.0 + difference],
            difference,
            interval: [0.0; 2],
            p_value: 1.0,
            p_holm: None,
            signs: [0; 2],
            lower_is_better,
        };
        let draws = |difference: f64| [vec![1.0; 3], vec![1.0 + difference; 3]];
        let of = |rows: &[Row]| {
            let draws: Vec<_> = rows.iter().map(|row| draws(row.difference)).collect();
            mean(rows, &draws).map(|mean| (mean.metric, mean.difference, mean.lower_is_better, mean.n))
        };
        let (low, high) = (row("loss", 0.25, true), row("loss", 0.75, true));
        assert_eq!(of(&[low, high]), Some(("loss".to_owned(), 0.5, true, 4)));
        assert_eq!(of(&[row("loss", 0.25, true), row("bits_per_byte", 0.75, true)]), None);
        assert_eq!(of(&[row("loss", 0.25, true), row("perplexity", 0.75, true)]), None);
        let accuracies = [row("loss", 9.0, true), row("acc", 0.25, false), row("acc", 0.75, false)];
        assert_eq!(of(&accuracies), Some(("accuracy".to_owned(), 0.5, false, 4)));
    }

    /// Forty rows of one id were compared with the last of them: what was better looked worse.
    #[test]
    fn items_have_one_partner_or_are_refused() {
        let first = averaged(&["x", "y", "z"], &[1.0, 0.0, 0.0]);
        let other_order = averaged(&["z", "x", "y"], &[0.0, 1.0, 1.0]);
        let (row, _) = compare_task("t", &first, &other_order, 0).unwrap();
        assert_eq!((row.n, row.signs), (3, [1, 0]));
        let refused = |a: &Averaged, b: &Averaged| compare_task("t", a, b, 0).err().unwrap().to_string();
        let twice = averaged(&["x", "y", "x"], &[1.0, 0.0, 0.0]);
        for (a, b) in [(&first, &twice), (&twice, &first), (&twice, &twice)] {
            assert_eq!(refused(a, b), "the id `x` stands twice among the items of t");
        }
        let other = averaged(&["x", "y", "w", "v"], &[1.0, 0.0, 0.0, 0.0]);
        assert_eq!(
            refused(&first, &other),
            "the items of t are not the same: 1 are only in the first, 2 only in the second"
        );
    }
}
