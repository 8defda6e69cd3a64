//! `WinoGrande` by partial scoring: the same rest of a sentence after either name.

use super::{agreed, documents_of_rows};
use crate::python::strip;
use crate::tasks::data::DataFile;
use crate::tasks::document::{Document, TextRequest};
use crate::tasks::rows::Row;
use crate::tasks::{ItemFacts, TaskError};

/// Task `winogrande` of lm-evaluation-harness, version 1.0: each option takes the place of the first `_` and ends the context; what
/// follows, stripped, is scored after a space. `answer` is 1 or 2, in the row or in a file of labels beside it.
/// Rows of the hub have no `qID`; their ids are made of their places.
pub(super) fn documents(file: &DataFile, labels: Option<&DataFile>) -> Result<Vec<Document>, TaskError> {
    documents_of_rows(file, labels, document)
}

fn document(row: &Row<'_>, label: Option<&str>) -> Result<Document, TaskError> {
    let own = row.has("answer").then(|| row.text("answer"));
    let answer = match agreed(row, own.transpose()?, label)? {
        Some(answer) => answer,
        None => row.text("answer")?,
    };
    let gold = match answer {
        "1" => 0,
        "2" => 1,
        other => {
            let problem = format!("the answer is {other:?}");
            return Err(row.problem(&problem, "an answer is 1 or 2; the test set of the release has none"));
        }
    };
    let sentence = row.filled("sentence")?;
    let (before, after) = sentence.split_once('_').ok_or_else(|| {
        row.problem("`sentence` has no `_`", "the options take its place; correct the row, or leave it out")
    })?;
    let after = strip(after);
    if after.is_empty() {
        let hint = "what follows is scored; correct the row, or leave it out";
        return Err(row.problem("nothing follows the `_` of `sentence`", hint));
    }
    let request = |option: &str| TextRequest {
        context: format!("{before}{option}"),
        continuation: format!(" {after}"),
        characters: after.chars().count(),
    };
    Ok(Document {
        id: if row.has("qID") { row.filled("qID")?.to_owned() } else { format!("winogrande-{}", row.index()) },
        gold: Some(gold),
        requests: vec![request(row.filled("option1")?), request(row.filled("option2")?)],
        facts: ItemFacts::default(),
        heading: String::new(),
        place: row.place(),
    })
}
