//! LAMBADA, the variant of `OpenAI`: the last word of a passage.

use super::documents_of_rows;
use crate::tasks::data::DataFile;
use crate::tasks::document::{Document, TextRequest};
use crate::tasks::rows::Row;
use crate::tasks::{ItemFacts, TaskError};

/// Task `lambada_openai` of lm-evaluation-harness, version 1.0: what stands before the last space is the context, a space and what
/// follows it is the target. Only the space character divides, so a word may carry a line break with it.
pub(super) fn documents(file: &DataFile, _labels: Option<&DataFile>) -> Result<Vec<Document>, TaskError> {
    documents_of_rows(file, None, |row, _| document(row))
}

fn document(row: &Row<'_>) -> Result<Document, TaskError> {
    let text = row.filled("text")?;
    let (context, word) = text.rsplit_once(' ').unwrap_or(("", text));
    if word.is_empty() {
        let hint = "the last word is what is asked for; correct the row, or leave it out";
        return Err(row.problem("`text` ends in a space, so that its last word is empty", hint));
    }
    let request =
        TextRequest { context: context.to_owned(), continuation: format!(" {word}"), characters: word.chars().count() };
    Ok(Document {
        id: format!("lambada_openai-{}", row.index()),
        gold: None,
        requests: vec![request],
        facts: ItemFacts::default(),
        heading: String::new(),
        place: row.place(),
    })
}
