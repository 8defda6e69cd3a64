//! A document: what a benchmark asks as text, before any tokenizer has seen it.

use super::rows::Row;
use super::{ItemFacts, TaskError};
use crate::python::strip;

/// A context and a continuation, as lm-evaluation-harness holds them in `Instance.arguments`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// What stands before; empty for running text.
    pub context: String,
    /// What is scored, with the space that joins it to the context.
    pub continuation: String,
    /// Length of the choice in characters, without that space.
    pub characters: usize,
}

/// One example as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Identifier within the task.
    pub id: String,
    /// Index of the right request, where one of several is right.
    pub gold: Option<u32>,
    /// Questions to the model; running text has one, whose context is empty.
    pub requests: Vec<TextRequest>,
    /// What it counts.
    pub facts: ItemFacts,
    /// What begins the prompt, before any solved example; empty in most tasks.
    pub(super) heading: String,
    /// File and 1-based line that it comes from, for messages.
    pub place: (String, usize),
}

impl Document {
    /// A question with several answers, which a space joins to it.
    ///
    /// # Errors
    /// Fewer than two answers, an empty one, or a right one that is not there.
    pub(super) fn choices(
        row: &Row<'_>,
        id: &str,
        question: &str,
        answers: &[impl AsRef<str>],
        gold: usize,
    ) -> Result<Self, TaskError> {
        let n = answers.len();
        if n < 2 {
            let hint = "an item to choose from has two or more; correct the row, or leave it out";
            return Err(row.problem(&format!("there are {n} answers"), hint));
        }
        if gold >= n {
            let problem = format!("the right answer has index {gold}, but there are {n} answers");
            return Err(row.problem(&problem, "answers are counted from 0; correct the label of this row"));
        }
        if let Some(empty) = answers.iter().position(|answer| strip(answer.as_ref()).is_empty()) {
            let hint = "nothing would be scored; correct the row, or leave it out";
            return Err(row.problem(&format!("answer {empty} is empty"), hint));
        }
        let request = |answer: &str| TextRequest {
            context: question.to_owned(),
            continuation: format!(" {answer}"),
            characters: answer.chars().count(),
        };
        Ok(Self {
            id: id.to_owned(),
            gold: Some(gold as u32),
            requests: answers.iter().map(|answer| request(answer.as_ref())).collect(),
            facts: ItemFacts::default(),
            heading: String::new(),
            place: row.place(),
        })
    }

    /// The document with its answer, as few-shot prompts show it.
    pub(super) fn solved(&self) -> String {
        let right = &self.requests[self.gold.unwrap_or(0) as usize];
        format!("{}{}", right.context, right.continuation)
    }

    /// An error about this document.
    pub(super) fn problem(&self, problem: impl Into<String>, hint: impl Into<String>) -> TaskError {
        TaskError::Row { file: self.place.0.clone(), line: self.place.1, problem: problem.into(), hint: hint.into() }
    }
}
