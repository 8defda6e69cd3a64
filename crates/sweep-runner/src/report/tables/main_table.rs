//! `main`: every strategy on every task at each nominal reduction, for one model and protocol.

use super::format::{Rank, Row, Table, TableCell};
use crate::analyse::Estimate;
use crate::report::view::{Scene, SceneTask, SeriesPoint, View};

/// The table of one scene.
pub(super) fn table(view: &View, scene: &Scene) -> Option<Table> {
    if scene.series.is_empty() {
        return None;
    }
    let mut header = vec!["reduction %".to_owned(), "strategy".to_owned(), "achieved %".to_owned()];
    header.extend(scene.tasks.iter().map(|task| format!("{} ({})", task.name, task.metric)));
    header.push("mean".to_owned());
    let mut rows: Vec<Row> = baseline_row(view, scene).into_iter().collect();
    for (block, nominal) in scene.reductions().into_iter().enumerate() {
        let members: Vec<(&str, &SeriesPoint)> = scene
            .series
            .iter()
            .flat_map(|series| series.points.iter().map(move |point| (series.label.as_str(), point)))
            .filter(|(_, point)| crate::report::view::same_reduction(point.nominal, nominal))
            .collect();
        rows.extend(block_rows(view, scene, block + 1, nominal, &members));
    }
    let caption = format!(
        "Primary metric of each task; {}. Accuracies in percent, ± half the width of the 95 % interval over items \
         (Wilson for shares of items, otherwise item bootstrap; stratified by task for the mean, which is over accuracy \
         tasks). Per reduction and column the best value is bold, and values whose paired 95 % difference to the best \
         holds zero are underlined. The achieved reduction is a mean over tasks. n per task: {}.",
        scene.title(),
        scene.tasks.iter().map(|task| task.n.to_string()).collect::<Vec<_>>().join(", "),
    );
    Some(Table { name: format!("main_{}", scene.slug()), caption, header, rows })
}

fn baseline_row(view: &View, scene: &Scene) -> Option<Row> {
    let (arm, mean) = scene.baseline.as_ref()?;
    let arm = &view.arms[*arm];
    let mut cells = vec![percent(0.0), TableCell::Name(arm.trial.strategy.clone()), percent(0.0)];
    for task in &scene.tasks {
        let result = arm.task(&task.name);
        cells.push(result.map_or(TableCell::Missing, |r| value(&r.estimate, task.lower_is_better, Rank::Plain)));
    }
    cells.push(mean.as_ref().map_or(TableCell::Missing, |mean| value(&mean.estimate, false, Rank::Plain)));
    Some(Row { block: 0, cells })
}

fn block_rows(view: &View, scene: &Scene, block: usize, nominal: f64, members: &[(&str, &SeriesPoint)]) -> Vec<Row> {
    let columns: Vec<Vec<Rank>> = scene.tasks.iter().map(|task| task_ranks(view, task, members)).collect();
    let means = mean_ranks(members);
    members
        .iter()
        .enumerate()
        .map(|(index, (label, point))| {
            let arm = &view.arms[point.arm];
            let achieved: Vec<f64> = arm.tasks.iter().map(|task| task.flops_reduction_achieved).collect();
            let achieved = achieved.iter().sum::<f64>() / achieved.len() as f64;
            let mut cells = vec![percent(nominal), TableCell::Name((*label).to_owned()), percent(achieved)];
            for (task, ranks) in scene.tasks.iter().zip(&columns) {
                let result = arm.task(&task.name);
                let cell = result.map(|r| value(&r.estimate, task.lower_is_better, ranks[index]));
                cells.push(cell.unwrap_or(TableCell::Missing));
            }
            let mean = point.mean.as_ref().map(|mean| value(&mean.estimate, false, means[index]));
            cells.push(mean.unwrap_or(TableCell::Missing));
            Row { block, cells }
        })
        .collect()
}

/// Best and tied among the members on one task.
fn task_ranks(view: &View, task: &SceneTask, members: &[(&str, &SeriesPoint)]) -> Vec<Rank> {
    let results: Vec<_> = members.iter().map(|(_, point)| view.arms[point.arm].task(&task.name)).collect();
    let sign = if task.lower_is_better { -1.0 } else { 1.0 };
    let values: Vec<Option<f64>> = results.iter().map(|r| r.map(|r| sign * r.estimate.value)).collect();
    ranks(&values, |best, other| {
        let (Some(best), Some(other)) = (results[best], results[other]) else {
            return false;
        };
        best.minus(other).is_some_and(|difference| difference.interval.contains(0.0))
    })
}

/// Best and tied among the members in the mean over tasks.
fn mean_ranks(members: &[(&str, &SeriesPoint)]) -> Vec<Rank> {
    let means: Vec<_> = members.iter().map(|(_, point)| point.mean.as_ref()).collect();
    let values: Vec<Option<f64>> = means.iter().map(|mean| mean.map(|mean| mean.estimate.value)).collect();
    ranks(&values, |best, other| {
        let (Some(best), Some(other)) = (means[best], means[other]) else {
            return false;
        };
        best.minus(other).interval.contains(0.0)
    })
}

/// Ranks of values where more is better; equal values are equally good. A single competitor is not "best".
pub(super) fn ranks(values: &[Option<f64>], tied: impl Fn(usize, usize) -> bool) -> Vec<Rank> {
    let finite = |value: &Option<f64>| value.filter(|value| value.is_finite());
    let mut best: Option<(usize, f64)> = None;
    for (index, value) in values.iter().enumerate() {
        if let Some(value) = finite(value).filter(|&value| best.is_none_or(|(_, top)| value > top)) {
            best = Some((index, value));
        }
    }
    let competitors = values.iter().filter(|value| finite(value).is_some()).count();
    let Some((best, top)) = best.filter(|_| competitors > 1) else {
        return vec![Rank::Plain; values.len()];
    };
    values
        .iter()
        .enumerate()
        .map(|(index, value)| match finite(value) {
            Some(value) if value >= top => Rank::Best,
            Some(_) if tied(best, index) => Rank::Tied,
            _ => Rank::Plain,
        })
        .collect()
}

fn percent(share: f64) -> TableCell {
    TableCell::Number { value: share * 100.0, half_width: None, decimals: 1, rank: Rank::Plain }
}

/// Accuracies in percent; perplexities as they are.
pub(super) fn value(estimate: &Estimate, lower_is_better: bool, rank: Rank) -> TableCell {
    let (unit, decimals) = if lower_is_better { (1.0, 2) } else { (100.0, 1) };
    let half_width = Some(estimate.interval.half_width() * unit).filter(|half| half.is_finite());
    TableCell::Number { value: estimate.value * unit, half_width, decimals, rank }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_mark_the_best_and_its_ties() {
        let values = [Some(0.5), Some(0.9), None, Some(0.9), Some(0.8)];
        let ranks = ranks(&values, |best, other| best == 1 && other == 4);
        assert_eq!(ranks, [Rank::Plain, Rank::Best, Rank::Plain, Rank::Best, Rank::Tied]);
    }

    #[test]
    fn one_competitor_is_not_the_best() {
        assert_eq!(ranks(&[Some(0.5), None], |_, _| true), [Rank::Plain, Rank::Plain]);
    }
}
