//! ARC, easy and challenge: science questions with three to five answers.

use super::documents_of_rows;
use crate::tasks::TaskError;
use crate::tasks::data::DataFile;
use crate::tasks::document::Document;
use crate::tasks::rows::Row;

/// Tasks `arc_easy` and `arc_challenge` of lm-evaluation-harness, version 1.0. Reads the rows of the hub (`question` is a text,
/// `choices` holds the lists `text` and `label`) and those of the original release (`question` holds `stem` and a list of
/// `choices`). Labels are letters or digits; the answer is the choice whose label is `answerKey`.
pub(super) fn documents(file: &DataFile, _labels: Option<&DataFile>) -> Result<Vec<Document>, TaskError> {
    documents_of_rows(file, None, |row, _| document(row))
}

fn document(row: &Row<'_>) -> Result<Document, TaskError> {
    let (question, answers, gold) = labelled(row, "question", row.text("answerKey")?)?;
    Document::choices(row, row.filled("id")?, &format!("Question: {question}\nAnswer:"), &answers, gold)
}

/// The question of a row of either form, its answers, and the index of the one whose label is `key`; `hub_question` is the field of the
/// question in rows of the hub.
pub(super) fn labelled(
    row: &Row<'_>,
    hub_question: &str,
    key: &str,
) -> Result<(String, Vec<String>, usize), TaskError> {
    let released = row.is_object("question");
    let (question, texts, labels) = if released { of_release(row)? } else { of_hub(row, hub_question)? };
    if texts.len() != labels.len() {
        let problem = format!("there are {} answers and {} labels", texts.len(), labels.len());
        return Err(row.problem(&problem, "`choices` holds two lists of one length: `text` and `label`"));
    }
    if let Some(twice) = labels.iter().enumerate().find_map(|(at, label)| labels[..at].contains(label).then_some(label))
    {
        let problem = format!("two answers have the label {twice:?}");
        return Err(row.problem(&problem, "`answerKey` must mean one of them; correct the row, or leave it out"));
    }
    let gold = labels.iter().position(|label| label == key).ok_or_else(|| {
        let problem = format!("`answerKey` is {key:?}, the labels are {}", labels.join(", "));
        row.problem(&problem, "the key must be one of the labels; correct the row, or leave it out")
    })?;
    Ok((question, texts, gold))
}

/// A question with the texts and the labels of its answers.
type Asked = (String, Vec<String>, Vec<String>);

fn of_hub(row: &Row<'_>, question: &str) -> Result<Asked, TaskError> {
    let choices = row.object("choices")?;
    let all = |field: &str| choices.texts(field).map(|texts| texts.into_iter().map(str::to_owned).collect());
    Ok((row.filled(question)?.to_owned(), all("text")?, all("label")?))
}

fn of_release(row: &Row<'_>) -> Result<Asked, TaskError> {
    let question = row.object("question")?;
    let choices = question.objects("choices")?;
    let all = |field: &str| choices.iter().map(|choice| choice.text(field).map(str::to_owned)).collect();
    let (texts, labels): (Result<_, _>, Result<_, _>) = (all("text"), all("label"));
    Ok((question.filled("stem")?.to_owned(), texts?, labels?))
}
