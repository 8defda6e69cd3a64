//! `main`: every strategy on every task at each reduction that was asked for, for one model and protocol.

use analysis::{Arm, ArmTask, Estimate, NoValue, TaskMean, comparable_set, task_names};
use records::names::is_share;
use records::schema::{Asked, Reduction};

use super::format::{BOOTSTRAP, Number, Rank, Row, Table, TableCell, WILSON};
use crate::spread::{PERCENT, POSITIVE, Spread, scaled};
use crate::view::{Scene, SceneTask, SeriesPoint, View, asked_head, asked_text};

/// The table of one scene.
pub(super) fn table(view: &View, scene: &Scene) -> Option<Table> {
    if scene.series.is_empty() {
        return None;
    }
    let reductions = scene.reductions();
    let mut header = vec![asked_head(&reductions).to_owned(), "strategy".to_owned(), "achieved %".to_owned()];
    header.extend(scene.tasks.iter().map(|task| format!("{} ({})", task.name, task.metric)));
    header.extend(scene.without_value.iter().map(|missing| format!("{} ({})", missing.task, missing.metric)));
    let accuracies = scene.tasks.iter().any(|task| !task.lower_is_better);
    header.extend(accuracies.then(|| "mean".to_owned()));
    let mut rows: Vec<Row> = baseline_row(view, scene, &reductions).into_iter().collect();
    for (block, &asked) in reductions.iter().enumerate() {
        let members: Vec<(&str, &SeriesPoint)> = scene
            .series
            .iter()
            .flat_map(|series| series.points.iter().map(move |point| (series.label.as_str(), point)))
            .filter(|(_, point)| point.asked.is(asked))
            .collect();
        rows.extend(block_rows(view, scene, block + 1, (asked, &reductions), &members));
    }
    let losses = scene.tasks.iter().any(|task| task.lower_is_better);
    let units = match (accuracies, losses) {
        (true, false) => "Accuracies in percent",
        (true, true) => "Accuracies in percent, losses and perplexities (lower is better) in units of their own",
        (false, _) => "Lower is better",
    };
    let interval = if accuracies {
        "Wilson's for shares of items and their means over seeds and tasks, otherwise item bootstrap; the mean is over accuracy tasks"
    } else {
        "item bootstrap"
    };
    let per = asked_head(&reductions).trim_end_matches(" %");
    let missing = |missing: &NoValue| format!(" {} has no value: {}.", missing.task, missing.reason());
    let counts: Vec<String> = scene.tasks.iter().map(|task| task.n.to_string()).collect();
    let counts = if counts.is_empty() { String::new() } else { format!(" n per task: {}.", counts.join(", ")) };
    let caption = format!(
        "Primary metric of each task; {}. {units}, ± half the width of the 95 % interval over items ({interval}). Per {per} \
         and column, of the values at the same achieved reduction (within half a point), the best is \
         bold, and those for which the 95 % interval of the paired difference to it contains zero are underlined. The achieved FLOPs reduction is a mean over \
         tasks.{counts}{}",
        scene.title(),
        scene.without_value.iter().map(missing).collect::<String>(),
    );
    let tasks: Vec<&str> = scene.tasks.iter().map(|task| task.name.as_str()).collect();
    let mut short: Vec<String> = header[..3].to_vec();
    short.extend(task_names(&tasks).into_iter().map(str::to_owned));
    short.extend(header[short.len()..].iter().cloned());
    let names = short.iter().zip(&header).skip(3).take(tasks.len()).map(|(short, head)| format!("{short}: {head}"));
    let short_note = format!(" {}.", names.collect::<Vec<_>>().join(", "));
    let mut intervals = vec![""; 3];
    intervals.extend(scene.tasks.iter().map(|task| if is_share(&task.metric) { WILSON } else { BOOTSTRAP }));
    intervals.extend(scene.without_value.iter().map(|_| ""));
    intervals.push(WILSON);
    Some(Table {
        name: format!("main_{}", scene.slug()),
        caption,
        header,
        rows,
        keys: vec![1],
        has_rules: true,
        asked: std::iter::once(None).chain(reductions.into_iter().map(Some)).collect(),
        asked_column: true,
        intervals,
        short,
        short_note,
        ..Table::default()
    })
}

fn baseline_row(view: &View, scene: &Scene, reductions: &[Reduction]) -> Option<Row> {
    let (arm, mean) = scene.baseline.as_ref()?;
    let arm = &view.arms[*arm];
    let achieved =
        arm.tasks.iter().map(|task| task.flops_reduction_achieved).sum::<f64>() / arm.tasks.len().max(1) as f64;
    let asked = if arm.reduces() { asked_cell(arm.trial.reduction(), reductions) } else { percent(0.0) };
    let mut cells = vec![asked, TableCell::Name(arm.trial.strategy.clone()), percent(achieved)];
    for task in &scene.tasks {
        let result = arm.task(&task.name);
        let cell = |r: &ArmTask| value(&r.estimate, task.lower_is_better, Rank::Plain, r.flops_reduction_achieved);
        cells.push(result.map_or(TableCell::Missing, cell));
    }
    cells.extend(cells_without_value(scene, arm));
    if scene.tasks.iter().any(|task| !task.lower_is_better) {
        let cell = |mean: &TaskMean| value(&mean.estimate, false, Rank::Plain, mean.flops_reduction_achieved);
        cells.push(mean.as_ref().map_or(TableCell::Missing, cell));
    }
    Some(Row { block: 0, cells })
}

/// Those of the tasks whose metric counts nothing of what was scored.
fn cells_without_value<'a>(scene: &'a Scene, arm: &'a Arm) -> impl Iterator<Item = TableCell> + 'a {
    let cell = |missing| if arm.without_value.contains(missing) { TableCell::NoValue } else { TableCell::Missing };
    scene.without_value.iter().map(cell)
}

fn block_rows(
    view: &View,
    scene: &Scene,
    block: usize,
    (asked, reductions): (Reduction, &[Reduction]),
    members: &[(&str, &SeriesPoint)],
) -> Vec<Row> {
    let columns: Vec<Vec<Rank>> = scene.tasks.iter().map(|task| task_ranks(view, task, asked, members)).collect();
    let means = mean_ranks(members);
    members
        .iter()
        .enumerate()
        .map(|(index, (label, point))| {
            let arm = &view.arms[point.arm];
            let achieved = point.mean.as_ref().map(|mean| mean.flops_reduction_achieved).or(arm.achieved());
            let achieved = achieved.map_or(TableCell::Missing, percent);
            let mut cells = vec![asked_cell(asked, reductions), TableCell::Name((*label).to_owned()), achieved];
            for (task, ranks) in scene.tasks.iter().zip(&columns) {
                let cell =
                    |r: &ArmTask| value(&r.estimate, task.lower_is_better, ranks[index], r.flops_reduction_achieved);
                cells.push(arm.task(&task.name).map_or(TableCell::Missing, cell));
            }
            cells.extend(cells_without_value(scene, arm));
            if scene.tasks.iter().any(|task| !task.lower_is_better) {
                let cell = |mean: &TaskMean| value(&mean.estimate, false, means[index], mean.flops_reduction_achieved);
                cells.push(point.mean.as_ref().map_or(TableCell::Missing, cell));
            }
            Row { block, cells }
        })
        .collect()
}

/// Best and tied among the members on one task, of those at the same achieved reduction.
fn task_ranks(view: &View, task: &SceneTask, asked: Reduction, members: &[(&str, &SeriesPoint)]) -> Vec<Rank> {
    let results: Vec<_> = members.iter().map(|(_, point)| view.arms[point.arm].task(&task.name)).collect();
    let achieved: Vec<Option<f64>> = results.iter().map(|r| r.map(|r| r.flops_reduction_achieved)).collect();
    let sign = if task.lower_is_better { -1.0 } else { 1.0 };
    let values: Vec<Option<f64>> = results.iter().map(|r| r.map(|r| sign * r.estimate.value)).collect();
    ranks(&values, &comparable_set(&achieved, asked.value), |best, other| {
        let (Some(best), Some(other)) = (results[best], results[other]) else {
            return false;
        };
        best.minus(other).is_some_and(|difference| difference.interval.contains(0.0))
    })
}

/// Best and tied among the members in the mean over tasks, of those at the same achieved reduction.
fn mean_ranks(members: &[(&str, &SeriesPoint)]) -> Vec<Rank> {
    let means: Vec<_> = members.iter().map(|(_, point)| point.mean.as_ref()).collect();
    let values: Vec<Option<f64>> = means.iter().map(|mean| mean.map(|mean| mean.estimate.value)).collect();
    let compared: Vec<bool> = members.iter().map(|(_, point)| point.compared).collect();
    ranks(&values, &compared, |best, other| {
        let (Some(best), Some(other)) = (means[best], means[other]) else {
            return false;
        };
        best.minus(other).interval.contains(0.0)
    })
}

/// Ranks of values where more is better, among those that are `compared`; equal values are equally good. A single competitor is not
/// "best".
pub(super) fn ranks(values: &[Option<f64>], compared: &[bool], tied: impl Fn(usize, usize) -> bool) -> Vec<Rank> {
    let candidate = |index: usize| values[index].filter(|value| value.is_finite() && compared[index]);
    let candidates: Vec<Option<f64>> = (0..values.len()).map(candidate).collect();
    let mut best: Option<(usize, f64)> = None;
    for (index, value) in candidates.iter().enumerate() {
        if let Some(value) = value.filter(|&value| best.is_none_or(|(_, top)| value > top)) {
            best = Some((index, value));
        }
    }
    let best = best.filter(|_| candidates.iter().flatten().count() > 1);
    let rank = |(index, value): (usize, &Option<f64>)| match (value, best) {
        _ if !compared[index] => Rank::Apart,
        (Some(value), Some((_, top))) if *value >= top => Rank::Best,
        (Some(_), Some((best, _))) if tied(best, index) => Rank::Tied,
        _ => Rank::Plain,
    };
    candidates.iter().enumerate().map(rank).collect()
}

/// What was asked for: a number, with its word where not all reductions are nominal.
pub(super) fn asked_cell(asked: Reduction, reductions: &[Reduction]) -> TableCell {
    if reductions.iter().all(|asked| asked.asked == Asked::Nominal) {
        percent(asked.value)
    } else {
        TableCell::Text(asked_text(asked, reductions))
    }
}

fn percent(share: f64) -> TableCell {
    Number::plain(share * 100.0, 1)
}

/// Accuracies in percent; perplexities as they are.
pub(super) fn value(estimate: &Estimate, lower_is_better: bool, rank: Rank, achieved: f64) -> TableCell {
    let (unit, decimals) = if lower_is_better { (1.0, 2) } else { (100.0, 1) };
    let range = if lower_is_better { POSITIVE } else { PERCENT };
    let value = estimate.value * unit;
    let spread = Spread::of(value, scaled(estimate.interval, unit), range);
    TableCell::Number(Number { value, spread, decimals, rank, achieved: Some(achieved * 100.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_mark_the_best_and_its_ties() {
        let values = [Some(0.5), Some(0.9), None, Some(0.9), Some(0.8)];
        let ranks = ranks(&values, &[true; 5], |best, other| best == 1 && other == 4);
        assert_eq!(ranks, [Rank::Plain, Rank::Best, Rank::Plain, Rank::Best, Rank::Tied]);
    }

    #[test]
    fn one_competitor_is_not_the_best() {
        assert_eq!(ranks(&[Some(0.5), None], &[true; 2], |_, _| true), [Rank::Plain, Rank::Plain]);
    }

    #[test]
    fn what_removed_less_is_never_the_best() {
        let values = [Some(0.99), Some(0.5), Some(0.7)];
        let ranks = ranks(&values, &[false, true, true], |_, _| true);
        assert_eq!(ranks, [Rank::Apart, Rank::Tied, Rank::Best]);
    }
}
