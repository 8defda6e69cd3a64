//! `effects_<reduction>`: what every rule changes against the baseline, all models and protocols side by side: the mean accuracy over
//! tasks, and beside it each loss, since a mean over both would mix recall with fluency.

use records::each_once;
use records::schema::Reduction;

use super::format::{Number, PAIRED, Rank, Row, Table, TableCell};
use super::losses::added;
use crate::losses::{self, Loss};
use crate::spread::{POINTS, Spread, scaled};
use crate::view::{Scene, Series, SeriesPoint, View, asked_phrase, asked_slug, distinct};

/// One table per reduction that was asked for.
pub(super) fn tables(view: &View, baseline: &str) -> Vec<Table> {
    let scenes: Vec<&Scene> = view.scenes.iter().filter(|scene| scene.baseline_mean().is_some()).collect();
    let reductions = distinct(scenes.iter().flat_map(|scene| scene.reductions()));
    reductions.into_iter().filter_map(|asked| table(view, &scenes, asked, baseline)).collect()
}

fn table(view: &View, scenes: &[&Scene], asked: Reduction, baseline: &str) -> Option<Table> {
    let is_known = |series: &&Series| series.at(asked).is_some_and(|point| point.difference.is_some());
    let series = scenes.iter().flat_map(|scene| &scene.series).filter(is_known);
    let labels = each_once(series.map(|series| series.label.as_str()));
    if labels.is_empty() {
        return None;
    }
    let mut header = vec!["strategy".to_owned()];
    let mut short = header.clone();
    let mut columns: Vec<Vec<(&str, TableCell)>> = Vec::new();
    let mut with_losses = false;
    for scene in scenes {
        let accuracy = scene.series.iter().filter_map(|series| Some((series.label.as_str(), cell(series.at(asked)?)?)));
        header.push(format!("{} {}", scene.model_name(), scene.protocol));
        short.push(format!("{} {}", scene.model_name(), scene.protocol));
        columns.push(accuracy.collect());
        for task in losses::tasks(scene) {
            let of_task = losses::of_task(view, scene, asked, task);
            let cells = of_task.iter().filter_map(|loss| Some((loss.series.label.as_str(), loss_cell(loss)?)));
            let cells: Vec<_> = cells.collect();
            // A protocol may refuse running text after a reduction.
            if !cells.is_empty() {
                with_losses = true;
                header.push(format!("{} {} {} {}", scene.model_name(), scene.protocol, task.name, task.metric));
                short.push(format!("{} {} {}", scene.model_name(), scene.protocol, task.name));
                columns.push(cells);
            }
        }
    }
    let rows = labels.into_iter().map(|label| {
        let cells = columns.iter().map(|column| {
            let cell = column.iter().find(|(known, _)| *known == label);
            cell.map_or(TableCell::Missing, |(_, cell)| cell.clone())
        });
        Row { block: 0, cells: std::iter::once(TableCell::Name(label.to_owned())).chain(cells).collect() }
    });
    let losses =
        if with_losses { " Columns that name a task show what is added to its loss: lower is better." } else { "" };
    let phrase = asked_phrase(asked);
    Some(Table {
        name: format!("effects_{}", asked_slug(asked)),
        caption: format!(
            "Mean accuracy over tasks minus that of {baseline} in percentage points, at {phrase}, ± half \
             the width of the paired 95 % bootstrap interval over items; in brackets the achieved reduction in percent, mean over tasks. \
             Not corrected for the number of comparisons.{losses}"
        ),
        intervals: header.iter().enumerate().map(|(index, _)| if index == 0 { "" } else { PAIRED }).collect(),
        header,
        rows: rows.collect(),
        achieved_in_cells: true,
        keys: vec![0],
        has_rules: true,
        asked: vec![Some(asked)],
        short,
        ..Table::default()
    })
}

fn loss_cell(loss: &Loss<'_>) -> Option<TableCell> {
    added(loss, if loss.compared { Rank::Plain } else { Rank::Apart })
}

fn cell(point: &SeriesPoint) -> Option<TableCell> {
    let (difference, mean) = (point.difference?, point.mean.as_ref()?);
    let value = difference.value * 100.0;
    Some(TableCell::Number(Number {
        value,
        spread: Spread::of(value, scaled(difference.interval, 100.0), POINTS),
        decimals: 1,
        rank: if point.compared { Rank::Plain } else { Rank::Apart },
        achieved: Some(mean.flops_reduction_achieved * 100.0),
    }))
}
