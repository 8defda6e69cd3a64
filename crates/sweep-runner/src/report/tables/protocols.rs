//! `protocols`: mean over tasks of every strategy, protocols side by side.

use super::format::{Rank, Row, Table, TableCell};
use super::main_table::{ranks, value};
use crate::analyse::TaskMean;
use crate::report::view::{Scene, View, same_reduction};

/// The table, where some model ran under more than one protocol.
pub(super) fn table(view: &View) -> Option<Table> {
    let scenes: Vec<&Scene> = view.scenes.iter().filter(|scene| scene.baseline_mean().is_some()).collect();
    let several = scenes.iter().any(|a| scenes.iter().any(|b| a.model == b.model && a.protocol != b.protocol));
    if !several {
        return None;
    }
    let mut header = vec!["reduction %".to_owned(), "strategy".to_owned()];
    header.extend(scenes.iter().map(|scene| format!("{} {}", scene.model, scene.protocol)));
    let mut rows = vec![Row {
        block: 0,
        cells: row_cells(0.0, "baseline", &scenes.iter().map(|scene| scene.baseline_mean()).collect::<Vec<_>>(), None),
    }];
    let mut reductions: Vec<f64> = scenes.iter().flat_map(|scene| scene.reductions()).collect();
    reductions.sort_by(f64::total_cmp);
    reductions.dedup_by(|a, b| same_reduction(*a, *b));
    for (block, nominal) in reductions.into_iter().enumerate() {
        let mut labels: Vec<&str> = Vec::new();
        for series in scenes.iter().flat_map(|scene| &scene.series).filter(|series| series.at(nominal).is_some()) {
            if !labels.contains(&series.label.as_str()) {
                labels.push(&series.label);
            }
        }
        let means: Vec<Vec<Option<&TaskMean>>> =
            labels.iter().map(|label| scenes.iter().map(|scene| find(scene, label, nominal)).collect()).collect();
        let ranks: Vec<Vec<Rank>> = (0..scenes.len()).map(|column| column_ranks(&means, column)).collect();
        for (index, (label, means)) in labels.iter().zip(&means).enumerate() {
            let ranks: Vec<Rank> = ranks.iter().map(|column| column[index]).collect();
            rows.push(Row { block: block + 1, cells: row_cells(nominal, label, means, Some(&ranks)) });
        }
    }
    let caption = "Accuracy in percent, mean over accuracy tasks, under each protocol, ± half the width of the 95 % \
                   bootstrap interval over items (stratified by task). Per reduction and column the best value is bold, \
                   values not distinguishable from it are underlined. `upstream` reproduces a defective scoring and is \
                   for reproduction only."
        .to_owned();
    Some(Table { name: "protocols".to_owned(), caption, header, rows })
}

fn find<'a>(scene: &'a Scene, label: &str, nominal: f64) -> Option<&'a TaskMean> {
    scene.series.iter().find(|series| series.label == label)?.at(nominal)?.mean.as_ref()
}

fn column_ranks(means: &[Vec<Option<&TaskMean>>], column: usize) -> Vec<Rank> {
    let values: Vec<Option<f64>> = means.iter().map(|row| row[column].map(|mean| mean.estimate.value)).collect();
    ranks(&values, |best, other| {
        let (Some(best), Some(other)) = (means[best][column], means[other][column]) else {
            return false;
        };
        best.minus(other).interval.contains(0.0)
    })
}

fn row_cells(nominal: f64, label: &str, means: &[Option<&TaskMean>], ranks: Option<&[Rank]>) -> Vec<TableCell> {
    let reduction = TableCell::Number { value: nominal * 100.0, half_width: None, decimals: 1, rank: Rank::Plain };
    let mut cells = vec![reduction, TableCell::Name(label.to_owned())];
    for (index, mean) in means.iter().enumerate() {
        let rank = ranks.map_or(Rank::Plain, |ranks| ranks[index]);
        cells.push(mean.map_or(TableCell::Missing, |mean| value(&mean.estimate, false, rank)));
    }
    cells
}
