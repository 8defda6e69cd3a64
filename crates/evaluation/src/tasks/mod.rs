//! Tasks: items in the tokens of a model, and how they are scored.

mod builtin;
mod error;
mod split;
mod wire;

pub use builtin::{BuiltinTask, TaskFacts, builtin_tasks, facts};
pub use error::TaskError;
pub use split::{SPLITS, Split};

use crate::tokenizer::Tokenizer;

/// How a task is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Several continuations, one of them right.
    MultipleChoice,
    /// One continuation that should be the greedy one.
    Target,
    /// Running text, every token scored.
    RunningText,
}

/// A context of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Positions of the tokens that the answer needs, ascending.
    pub necessary: Vec<u32>,
}

/// One continuation of one context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Index into [`Item::contexts`].
    pub context: usize,
    /// Token ids; at least one.
    pub continuation: Vec<u32>,
    /// Indices into the continuation of the tokens that count, ascending.
    pub scored: Vec<u32>,
    /// UTF-8 length of the continuation without its leading space: the divisor of `acc_norm`.
    pub bytes: usize,
}

/// One example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Identifier within the task.
    pub id: String,
    /// Index of the right request, where one of several is right.
    pub gold: Option<u32>,
    /// One or more contexts; for running text the document.
    pub contexts: Vec<Context>,
    /// The continuations to score; none for running text.
    pub requests: Vec<Request>,
    /// Positions of words of running text that recall an earlier fact, ascending.
    pub recalls: Vec<u32>,
}

impl Item {
    /// The item as one running text: its first context and continuation.
    #[must_use]
    pub fn as_running_text(&self) -> Self {
        let mut tokens = self.contexts[0].tokens.clone();
        tokens.extend(self.requests.first().into_iter().flat_map(|request| &request.continuation));
        let contexts = vec![Context { tokens, necessary: Vec::new() }];
        Self { id: self.id.clone(), gold: None, contexts, requests: Vec::new(), recalls: Vec::new() }
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Name in experiment files and records.
    pub name: String,
    /// How it is scored.
    pub kind: TaskKind,
    /// The metric by which figures and tables show it.
    pub primary_metric: &'static str,
    /// The items, in file order.
    pub items: Vec<Item>,
}

/// Loads a task in the tokens of a model: of the items of the split at most `limit`, from the front.
///
/// # Errors
/// An unknown task, or a line of its file that is not a valid item.
pub fn load(name: &str, tokenizer: &Tokenizer, split: Split, limit: Option<usize>) -> Result<Task, TaskError> {
    let task = builtin::find(name)?;
    let lines = task.jsonl.lines().enumerate();
    let items = lines
        .map(|(index, line)| wire::item(name, index + 1, line, task.kind, tokenizer))
        // A damaged line belongs to no split: whoever comes upon it learns of it.
        .filter(|item| item.as_ref().map_or(true, |item| split.contains(&item.id)))
        .take(limit.unwrap_or(usize::MAX))
        .collect::<Result<_, _>>()?;
    Ok(Task { name: name.to_owned(), kind: task.kind, primary_metric: task.primary_metric, items })
}
