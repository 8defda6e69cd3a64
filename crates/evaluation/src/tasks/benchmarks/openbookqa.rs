//! `OpenBookQA`: elementary science with four answers. The question is the whole context.

use super::arc::labelled;
use super::documents_of_rows;
use crate::python::is_space;
use crate::tasks::TaskError;
use crate::tasks::data::DataFile;
use crate::tasks::document::Document;
use crate::tasks::rows::Row;

/// Task `openbookqa` of lm-evaluation-harness, version 1.0. Reads the rows of the hub (`question_stem`, and the lists `text` and `label`
/// in `choices`) and those of the original release (`question` holds `stem` and a list of `choices`).
pub(super) fn documents(file: &DataFile, _labels: Option<&DataFile>) -> Result<Vec<Document>, TaskError> {
    documents_of_rows(file, None, |row, _| document(row))
}

fn document(row: &Row<'_>) -> Result<Document, TaskError> {
    let key = row.text("answerKey")?.trim_start_matches(is_space);
    let (question, answers, gold) = labelled(row, "question_stem", key)?;
    Document::choices(row, row.filled("id")?, &question, &answers, gold)
}
