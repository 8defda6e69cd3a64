//! `effects_<reduction>`: what every rule changes against the baseline, all models and protocols side by side.

use records::schema::Reduction;

use super::format::{Number, Rank, Row, Table, TableCell};
use crate::view::{Scene, SeriesPoint, View, asked_slug, distinct, in_percent};

/// One table per reduction that was asked for.
pub(super) fn tables(view: &View, baseline: &str) -> Vec<Table> {
    let scenes: Vec<&Scene> = view.scenes.iter().filter(|scene| scene.baseline_mean().is_some()).collect();
    let reductions = distinct(scenes.iter().flat_map(|scene| scene.reductions()));
    reductions.into_iter().filter_map(|asked| table(&scenes, asked, baseline)).collect()
}

fn table(scenes: &[&Scene], asked: Reduction, baseline: &str) -> Option<Table> {
    let mut labels: Vec<&str> = Vec::new();
    for series in scenes.iter().flat_map(|scene| &scene.series) {
        let known = series.at(asked).is_some_and(|point| point.difference.is_some());
        if known && !labels.contains(&series.label.as_str()) {
            labels.push(&series.label);
        }
    }
    if labels.is_empty() {
        return None;
    }
    let mut header = vec!["strategy".to_owned()];
    header.extend(scenes.iter().map(|scene| format!("{} {}", scene.model, scene.protocol)));
    let rows = labels.into_iter().map(|label| {
        let cells = scenes.iter().map(|scene| {
            let series = scene.series.iter().find(|series| series.label == label);
            series.and_then(|series| series.at(asked)).and_then(cell).unwrap_or(TableCell::Missing)
        });
        Row { block: 0, cells: std::iter::once(TableCell::Name(label.to_owned())).chain(cells).collect() }
    });
    let (percent, word) = (in_percent(asked.value), asked.word());
    let article = if asked.achieved { "an" } else { "a" };
    Some(Table {
        name: format!("effects_{}", asked_slug(asked)),
        caption: format!(
            "Mean accuracy over tasks minus that of {baseline} in percentage points, at {article} {word} FLOPs reduction of {percent} %, ± half \
             the width of the paired 95 % bootstrap interval over items; in brackets the achieved reduction in percent, mean over tasks. \
             Not corrected for the number of comparisons."
        ),
        header,
        rows: rows.collect(),
        achieved_in_cells: true,
    })
}

fn cell(point: &SeriesPoint) -> Option<TableCell> {
    let (difference, mean) = (point.difference?, point.mean.as_ref()?);
    Some(TableCell::Number(Number {
        value: difference.value * 100.0,
        half_width: Some(difference.interval.half_width() * 100.0).filter(|half| half.is_finite()),
        decimals: 1,
        rank: if point.compared { Rank::Plain } else { Rank::Apart },
        achieved: Some(mean.flops_reduction_achieved * 100.0),
    }))
}
