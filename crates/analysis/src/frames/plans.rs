//! `task_items` and `plans`: what was asked, and what became of its tokens.

use polars::chunked_array::builder::{ListPrimitiveChunkedBuilder, ListStringChunkedBuilder};
use polars::prelude::*;
use records::schema::{CellRecord, PlanRecord};
use records::task_items::{TaskItem, TaskItems};

use crate::study::Study;

pub(super) fn task_items(study: &Study) -> PolarsResult<DataFrame> {
    let rows: Vec<(&TaskItems, &TaskItem)> =
        study.task_items.iter().flat_map(|file| file.items.iter().map(move |item| (file, item))).collect();
    let columns = vec![
        Column::new("model".into(), rows.iter().map(|(file, _)| file.model.as_str()).collect::<Vec<_>>()),
        Column::new("task".into(), rows.iter().map(|(file, _)| file.task.as_str()).collect::<Vec<_>>()),
        Column::new("item_id".into(), rows.iter().map(|(_, item)| item.item_id.as_str()).collect::<Vec<_>>()),
        Column::new("text".into(), rows.iter().map(|(_, item)| item.text.as_str()).collect::<Vec<_>>()),
        Column::new("target".into(), rows.iter().map(|(_, item)| item.target.as_deref()).collect::<Vec<_>>()),
        texts("choices", rows.iter().map(|(_, item)| item.choices.as_slice())),
        texts("tokens", rows.iter().map(|(_, item)| item.tokens.as_slice())),
        Column::new(
            "context_tokens".into(),
            rows.iter().map(|(_, item)| item.context_tokens as u64).collect::<Vec<_>>(),
        ),
        positions("necessary", rows.iter().map(|(_, item)| item.necessary.iter().copied())),
    ];
    DataFrame::new(rows.len(), columns)
}

pub(super) fn plans(study: &Study) -> PolarsResult<DataFrame> {
    let rows: Vec<(&CellRecord, &PlanRecord)> = study
        .cells
        .iter()
        .filter(|cell| cell.is_done())
        .flat_map(|cell| cell.record.plans.iter().map(move |plan| (&cell.record, plan)))
        .collect();
    let columns = vec![
        Column::new("trial_id".into(), rows.iter().map(|(cell, _)| cell.trial.trial_id.as_str()).collect::<Vec<_>>()),
        Column::new("cell_id".into(), rows.iter().map(|(cell, _)| cell.cell_id.as_str()).collect::<Vec<_>>()),
        Column::new("task".into(), rows.iter().map(|(cell, _)| cell.task.as_str()).collect::<Vec<_>>()),
        Column::new(
            "item_id".into(),
            rows.iter().map(|(cell, plan)| cell.items[plan.item].item_id.as_str()).collect::<Vec<_>>(),
        ),
        Column::new("site".into(), rows.iter().map(|(_, plan)| plan.site as u64).collect::<Vec<_>>()),
        positions("kept", rows.iter().map(|(_, plan)| plan.kept.iter().copied())),
        positions("dropped", rows.iter().map(|(_, plan)| plan.dropped.iter().copied())),
        positions("merged", rows.iter().map(|(_, plan)| plan.merged.iter().map(|(token, _)| *token))),
        positions("merged_into", rows.iter().map(|(_, plan)| plan.merged.iter().map(|(_, into)| *into))),
    ];
    DataFrame::new(rows.len(), columns)
}

fn positions<I: Iterator<Item = u32>>(name: &str, rows: impl ExactSizeIterator<Item = I>) -> Column {
    let mut lists =
        ListPrimitiveChunkedBuilder::<UInt32Type>::new(name.into(), rows.len(), 16 * rows.len(), DataType::UInt32);
    for row in rows {
        lists.append_values_iter(row);
    }
    lists.finish().into_column()
}

fn texts<'a>(name: &str, rows: impl ExactSizeIterator<Item = &'a [String]>) -> Column {
    let mut lists = ListStringChunkedBuilder::new(name.into(), rows.len(), 16 * rows.len());
    for row in rows {
        lists.append_values_iter(row.iter().map(String::as_str));
    }
    lists.finish().into_column()
}
