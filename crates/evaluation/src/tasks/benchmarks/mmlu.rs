//! MMLU: exam questions of 57 subjects. The answers are part of the question, and their letters are scored.

use std::collections::HashMap;

use super::documents_of_rows;
use crate::python::strip;
use crate::tasks::TaskError;
use crate::tasks::data::DataFile;
use crate::tasks::document::Document;
use crate::tasks::rows::Row;

const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

/// The 57 tasks of the group `mmlu` of lm-evaluation-harness, version 2, as one: the rows of all subjects, each of which names its
/// `subject`. Ids are made of subject and place within it, which is the number of the document in the harness's task.
pub(super) fn documents(file: &DataFile, _labels: Option<&DataFile>) -> Result<Vec<Document>, TaskError> {
    let mut documents = documents_of_rows(file, None, |row, _| document(row))?;
    let mut counts: HashMap<String, usize> = HashMap::new();
    for document in &mut documents {
        let count = counts.entry(document.heading.clone()).or_default();
        document.id = format!("{}-{count}", document.id);
        *count += 1;
    }
    Ok(documents)
}

/// A document without its number.
fn document(row: &Row<'_>) -> Result<Document, TaskError> {
    let choices = row.texts("choices")?;
    let [a, b, c, d] = choices[..] else {
        let hint = "a question of MMLU has four; correct the row, or leave it out";
        return Err(row.problem(&format!("`choices` holds {} answers", choices.len()), hint));
    };
    let subject = row.filled("subject")?;
    let question = format!("{}\nA. {a}\nB. {b}\nC. {c}\nD. {d}\nAnswer:", strip(row.filled("question")?));
    let gold = row.whole("answer")? as usize;
    let document = Document::choices(row, &format!("mmlu-{subject}"), &question, &LETTERS, gold)?;
    Ok(Document { heading: heading(subject), ..document })
}

/// What begins every prompt of a subject.
fn heading(subject: &str) -> String {
    format!("The following are multiple choice questions (with answers) about {}.\n\n", subject.replace('_', " "))
}
