//! PIQA: two solutions of an everyday goal.

use super::{agreed, documents_of_rows};
use crate::tasks::TaskError;
use crate::tasks::data::DataFile;
use crate::tasks::document::Document;
use crate::tasks::rows::Row;

/// Task `piqa` of lm-evaluation-harness, version 1.0. The right one of `sol1` and `sol2` stands in the row (`label`, as on the hub) or
/// in a file of labels beside it (as in the original release): 0 or 1.
pub(super) fn documents(file: &DataFile, labels: Option<&DataFile>) -> Result<Vec<Document>, TaskError> {
    documents_of_rows(file, labels, document)
}

fn document(row: &Row<'_>, label: Option<&str>) -> Result<Document, TaskError> {
    let beside = label.map(|label| {
        label
            .parse()
            .map_err(|_| row.problem(&format!("the label is {label:?}"), "a label is 0 for sol1 or 1 for sol2"))
    });
    let own = row.has("label").then(|| row.whole("label"));
    let gold = match agreed(row, own.transpose()?, beside.transpose()?)? {
        Some(gold) => gold as usize,
        None => row.whole("label")? as usize,
    };
    let choices = [row.text("sol1")?, row.text("sol2")?];
    let question = format!("Question: {}\nAnswer:", row.filled("goal")?);
    Document::choices(row, &format!("piqa-{}", row.index()), &question, &choices, gold)
}
