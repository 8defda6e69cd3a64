//! `BoolQ`: a passage and a question that is answered by no or yes.

use super::documents_of_rows;
use crate::tasks::TaskError;
use crate::tasks::data::DataFile;
use crate::tasks::document::Document;
use crate::tasks::rows::Row;

/// The answers, in the order of the labels.
const ANSWERS: [&str; 2] = ["no", "yes"];

/// Task `boolq` of lm-evaluation-harness, version 2.0. `label` is 0 or 1 as on the hub, or `false` or `true` as in the release of
/// `SuperGLUE`.
pub(super) fn documents(file: &DataFile, _labels: Option<&DataFile>) -> Result<Vec<Document>, TaskError> {
    documents_of_rows(file, None, |row, _| document(row))
}

fn document(row: &Row<'_>) -> Result<Document, TaskError> {
    let gold = match row.truth("label") {
        Some(yes) => usize::from(yes),
        None => row.whole("label")? as usize,
    };
    let question = format!("{}\nQuestion: {}?\nAnswer:", row.filled("passage")?, row.filled("question")?);
    Document::choices(row, &format!("boolq-{}", row.index()), &question, &ANSWERS, gold)
}
