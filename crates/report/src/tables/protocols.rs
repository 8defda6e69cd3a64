//! `protocols`: mean over tasks of every strategy, protocols side by side.

use analysis::TaskMean;
use records::each_once;
use records::schema::Reduction;

use super::format::{Number, Rank, Row, Table, TableCell, WILSON};
use super::main_table::{asked_cell, ranks, value};
use crate::view::{Scene, SeriesPoint, View, asked_head, distinct};

/// The table, where some model ran under more than one protocol.
pub(super) fn table(view: &View, baseline: &str) -> Option<Table> {
    let scenes: Vec<&Scene> = view.scenes.iter().filter(|scene| scene.baseline_mean().is_some()).collect();
    let several = scenes.iter().any(|a| scenes.iter().any(|b| a.model == b.model && a.protocol != b.protocol));
    if !several {
        return None;
    }
    let reductions = distinct(scenes.iter().flat_map(|scene| scene.reductions()));
    let mut header = vec![asked_head(&reductions).to_owned(), "strategy".to_owned()];
    header.extend(scenes.iter().map(|scene| format!("{} {}", scene.model_name(), scene.protocol)));
    let dense = scenes.iter().map(|scene| scene.baseline_mean().map(|mean| cell(mean, Rank::Plain)));
    let mut rows = vec![row(0, Number::plain(0.0, 1), baseline, dense)];
    for (block, &asked) in reductions.iter().enumerate() {
        let series = scenes.iter().flat_map(|scene| &scene.series).filter(|series| series.at(asked).is_some());
        let labels = each_once(series.map(|series| series.label.as_str()));
        let points: Vec<Vec<Option<&SeriesPoint>>> =
            labels.iter().map(|label| scenes.iter().map(|scene| find(scene, label, asked)).collect()).collect();
        let ranks: Vec<Vec<Rank>> = (0..scenes.len()).map(|column| column_ranks(&points, column)).collect();
        for (index, (label, points)) in labels.iter().zip(&points).enumerate() {
            let cells = points
                .iter()
                .zip(&ranks)
                .map(|(point, ranks)| point.and_then(|point| point.mean.as_ref()).map(|mean| cell(mean, ranks[index])));
            rows.push(row(block + 1, asked_cell(asked, &reductions), label, cells));
        }
    }
    let per = asked_head(&reductions).trim_end_matches(" %");
    let caption = format!(
        "Accuracy in percent, mean over accuracy tasks, under each protocol, ± half the width of the 95 % interval over \
         items, and in brackets the achieved FLOPs reduction in percent, mean over those tasks. Per {per} and \
         column, of the values at the same achieved reduction (within half a point), the best is bold and those not \
         distinguishable from it are underlined. `upstream` reproduces a defective scoring and is for reproduction only."
    );
    let mut short = header[..2].to_vec();
    short.extend(scenes.iter().map(|scene| format!("{} {}", scene.model_name(), scene.protocol)));
    let mut intervals = vec![""; 2];
    intervals.extend(scenes.iter().map(|_| WILSON));
    Some(Table {
        name: "protocols".to_owned(),
        caption,
        header,
        rows,
        achieved_in_cells: true,
        keys: vec![1],
        has_rules: true,
        asked: std::iter::once(None).chain(reductions.into_iter().map(Some)).collect(),
        asked_column: true,
        intervals,
        short,
        ..Table::default()
    })
}

fn find<'a>(scene: &'a Scene, label: &str, asked: Reduction) -> Option<&'a SeriesPoint> {
    scene.series.iter().find(|series| series.label == label)?.at(asked)
}

fn column_ranks(points: &[Vec<Option<&SeriesPoint>>], column: usize) -> Vec<Rank> {
    let means: Vec<Option<&TaskMean>> =
        points.iter().map(|row| row[column].and_then(|point| point.mean.as_ref())).collect();
    let values: Vec<Option<f64>> = means.iter().map(|mean| mean.map(|mean| mean.estimate.value)).collect();
    let compared: Vec<bool> = points.iter().map(|row| row[column].is_some_and(|point| point.compared)).collect();
    ranks(&values, &compared, |best, other| {
        let (Some(best), Some(other)) = (means[best], means[other]) else {
            return false;
        };
        best.minus(other).interval.contains(0.0)
    })
}

fn cell(mean: &TaskMean, rank: Rank) -> TableCell {
    value(&mean.estimate, false, rank, mean.flops_reduction_achieved)
}

fn row(block: usize, asked: TableCell, label: &str, values: impl Iterator<Item = Option<TableCell>>) -> Row {
    let mut cells = vec![asked, TableCell::Name(label.to_owned())];
    cells.extend(values.map(|value| value.unwrap_or(TableCell::Missing)));
    Row { block, cells }
}
