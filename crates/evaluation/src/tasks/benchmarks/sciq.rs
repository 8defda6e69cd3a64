//! `SciQ`: science questions behind a passage that supports the answer.

use super::documents_of_rows;
use crate::python::is_space;
use crate::tasks::TaskError;
use crate::tasks::data::DataFile;
use crate::tasks::document::Document;
use crate::tasks::rows::Row;

/// Fields of the answers in the order in which the harness asks for them. The right one is the last.
const ANSWERS: [&str; 4] = ["distractor1", "distractor2", "distractor3", "correct_answer"];

/// Task `sciq` of lm-evaluation-harness, version 1.0. A row may have an empty `support`; its context then begins with a line break.
pub(super) fn documents(file: &DataFile, _labels: Option<&DataFile>) -> Result<Vec<Document>, TaskError> {
    documents_of_rows(file, None, |row, _| document(row))
}

fn document(row: &Row<'_>) -> Result<Document, TaskError> {
    let support = row.text("support")?.trim_start_matches(is_space);
    let question = format!("{support}\nQuestion: {}\nAnswer:", row.filled("question")?);
    let answers = ANSWERS.iter().map(|field| row.text(field)).collect::<Result<Vec<_>, _>>()?;
    Document::choices(row, &format!("sciq-{}", row.index()), &question, &answers, ANSWERS.len() - 1)
}
