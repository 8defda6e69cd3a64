//! `task-items/<cohort_id>.json`: what the items of a task say, as text. Written once per model and task, since the tokens are the model's.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Folder of these files in a results folder.
pub const FOLDER: &str = "task-items";

/// The items of one task in the tokens of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskItems {
    /// Model reference.
    pub model: String,
    /// Task name.
    pub task: String,
    /// The items, in task order.
    pub items: Vec<TaskItem>,
}

/// One item as text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskItem {
    /// Identifier of the item within its task.
    pub item_id: String,
    /// Index of the right choice; none for targets and running text.
    pub gold: Option<u32>,
    /// What the model reads before it answers: the first context. Of running text the text itself, or its first window.
    pub text: String,
    /// The right continuation; none for running text.
    pub target: Option<String>,
    /// Every continuation, with its own context before it where the contexts differ; empty unless there are several.
    pub choices: Vec<String>,
    /// Text of each token of the first context and of its first continuation. Put together they are `text` and that continuation.
    pub tokens: Vec<String>,
    /// How many of the tokens are of the context.
    pub context_tokens: usize,
    /// Positions of the tokens that the answer needs, ascending.
    pub necessary: Vec<u32>,
}

/// The file of a cohort in a results folder.
#[must_use]
pub fn path(dir: &Path, cohort_id: &str) -> PathBuf {
    dir.join(FOLDER).join(format!("{cohort_id}.json"))
}

impl TaskItems {
    /// Whether the file can be what its name says.
    ///
    /// # Errors
    /// What cannot be, in words.
    pub fn check(&self, model: &str, task: &str) -> Result<(), String> {
        if (self.model.as_str(), self.task.as_str()) != (model, task) {
            return Err(format!("it is of {} in the tokens of {}", self.task, self.model));
        }
        for TaskItem { item_id, gold, choices, tokens, context_tokens, necessary, .. } in &self.items {
            if *context_tokens > tokens.len() || necessary.iter().any(|at| *at as usize >= *context_tokens) {
                return Err(format!("item `{item_id}` has a token beyond its context"));
            }
            if gold.is_some_and(|gold| !choices.is_empty() && gold as usize >= choices.len()) {
                return Err(format!("item `{item_id}` has fewer choices than its right one"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        let item = TaskItem {
            item_id: "a".to_owned(),
            gold: Some(1),
            choices: vec![" x".to_owned(), " y".to_owned()],
            tokens: vec!["one".to_owned(), " x".to_owned()],
            context_tokens: 1,
            necessary: vec![0],
            ..TaskItem::default()
        };
        let of = |item: TaskItem| TaskItems { model: "m".to_owned(), task: "t".to_owned(), items: vec![item] };
        assert_eq!(of(item.clone()).check("m", "t"), Ok(()));
        assert!(of(item.clone()).check("m", "other").unwrap_err().contains("of t"));
        assert!(of(TaskItem { necessary: vec![1], ..item.clone() }).check("m", "t").is_err());
        assert!(of(TaskItem { context_tokens: 3, ..item.clone() }).check("m", "t").is_err());
        assert!(of(TaskItem { gold: Some(2), ..item }).check("m", "t").is_err());
    }
}
