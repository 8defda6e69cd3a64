//! `items` and `item_metrics`: what every single example did.

use polars::chunked_array::builder::{ListBooleanChunkedBuilder, ListPrimitiveChunkedBuilder};
use polars::prelude::*;
use records::schema::{CellRecord, ItemRecord};

use crate::study::Study;

pub(super) fn items(study: &Study) -> PolarsResult<DataFrame> {
    let rows: Vec<(&CellRecord, &ItemRecord)> = study
        .cells
        .iter()
        .filter(|cell| cell.is_done())
        .flat_map(|cell| cell.record.items.iter().map(move |item| (&cell.record, item)))
        .collect();
    let n = rows.len();
    let choices = rows.iter().map(|(_, item)| item.loglikelihoods.len()).sum();
    let mut loglikelihoods =
        ListPrimitiveChunkedBuilder::<Float64Type>::new("loglikelihoods".into(), n, choices, DataType::Float64);
    let mut greedy = ListBooleanChunkedBuilder::new("greedy".into(), n, choices);
    for (_, item) in &rows {
        loglikelihoods.append_slice(&item.loglikelihoods);
        greedy.append_series(&Series::new(PlSmallStr::EMPTY, item.greedy.as_slice()))?;
    }
    let columns = vec![
        text("trial_id", rows.iter().map(|(cell, _)| cell.trial.trial_id.as_str())),
        text("cell_id", rows.iter().map(|(cell, _)| cell.cell_id.as_str())),
        text("task", rows.iter().map(|(cell, _)| cell.task.as_str())),
        text("item_id", rows.iter().map(|(_, item)| item.item_id.as_str())),
        Column::new("gold".into(), rows.iter().map(|(_, item)| item.gold).collect::<Vec<_>>()),
        Column::new("predicted".into(), rows.iter().map(|(_, item)| item.predicted).collect::<Vec<_>>()),
        Column::new("correct".into(), rows.iter().map(|(_, item)| item.correct).collect::<Vec<_>>()),
        loglikelihoods.finish().into_column(),
        greedy.finish().into_column(),
        Column::new("tokens_in".into(), rows.iter().map(|(_, item)| item.tokens_in).collect::<Vec<_>>()),
        Column::new("tokens_kept".into(), rows.iter().map(|(_, item)| item.tokens_kept).collect::<Vec<_>>()),
        Column::new("necessary_kept".into(), rows.iter().map(|(_, item)| item.necessary_kept).collect::<Vec<_>>()),
        Column::new("coverage".into(), rows.iter().map(|(_, item)| item.coverage).collect::<Vec<_>>()),
        Column::new("length".into(), rows.iter().map(|(_, item)| item.length).collect::<Vec<_>>()),
        Column::new("depth".into(), rows.iter().map(|(_, item)| item.depth).collect::<Vec<_>>()),
    ];
    DataFrame::new(n, columns)
}

pub(super) fn item_metrics(study: &Study) -> PolarsResult<DataFrame> {
    let mut names: [Vec<&str>; 5] = Default::default();
    let (mut primaries, mut values, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for cell in study.cells.iter().filter(|cell| cell.is_done()).map(|cell| &cell.record) {
        for metric in &cell.metrics {
            for (item, &(value, weight)) in cell.items.iter().zip(&metric.contributions) {
                for (column, name) in names.iter_mut().zip([
                    &cell.trial.trial_id,
                    &cell.cell_id,
                    &cell.task,
                    &item.item_id,
                    &metric.metric,
                ]) {
                    column.push(name);
                }
                primaries.push(metric.metric == cell.primary_metric);
                values.push(value);
                weights.push(weight);
            }
        }
    }
    let n = values.len();
    let mut columns: Vec<Column> = ["trial_id", "cell_id", "task", "item_id", "metric"]
        .into_iter()
        .zip(names)
        .map(|(name, values)| Column::new(name.into(), values))
        .collect();
    columns.push(Column::new("primary".into(), primaries));
    columns.push(Column::new("value".into(), values));
    columns.push(Column::new("weight".into(), weights));
    DataFrame::new(n, columns)
}

fn text<'a>(name: &str, values: impl Iterator<Item = &'a str>) -> Column {
    Column::new(name.into(), values.collect::<Vec<&str>>())
}
