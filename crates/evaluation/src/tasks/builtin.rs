//! The tasks of lines that the program knows: the reference tasks, compiled in, and those cut from novels, which come as files.

use super::facts::{TaskFacts, count};
use super::fit::Suspects;
use super::item_task::{ItemTask, Lines, RECALLED_TEXT};
use super::{Split, TaskError, TaskKind};
use crate::score::metrics::{Measure, measures};
use crate::tokenizer::Tokenizer;

/// A task that ships with the program.
#[derive(Clone, Debug)]
pub struct BuiltinTask {
    /// Name in experiment files.
    pub name: &'static str,
    /// What it asks, in one line.
    pub summary: &'static str,
    /// How it is scored.
    pub kind: TaskKind,
    /// What is reported of it.
    pub measures: &'static [Measure],
    /// The metric by which figures and tables show it.
    pub primary_metric: &'static str,
    /// One item a line; see the README beside the files.
    pub(super) lines: Lines,
}

macro_rules! reference {
    ($(($name:literal, $kind:ident, $metric:literal, $summary:literal)),* $(,)?) => {
        &[$(BuiltinTask {
            name: $name,
            summary: $summary,
            kind: TaskKind::$kind,
            measures: measures(TaskKind::$kind),
            primary_metric: $metric,
            lines: Lines::Embedded(include_str!(concat!("../../assets/reference-tasks/", $name, ".jsonl"))),
        }),*]
    };
}

macro_rules! books {
    ($(($name:literal, $kind:ident, $measures:expr, $metric:literal, $summary:literal)),* $(,)?) => {
        &[$(BuiltinTask {
            name: $name,
            summary: $summary,
            kind: TaskKind::$kind,
            measures: $measures,
            primary_metric: $metric,
            lines: Lines::Shipped($name),
        }),*]
    };
}

static REFERENCE: &[BuiltinTask] = reference![
    ("world_lambada", Target, "acc", "last word of a passage, recoverable from the passage alone"),
    ("world_hellaswag", MultipleChoice, "acc_norm", "which of four endings fits the passage"),
    ("world_piqa", MultipleChoice, "acc", "which of two solutions reaches a goal"),
    ("world_arc_easy", MultipleChoice, "acc", "one fact of general knowledge, four answers"),
    ("world_arc_challenge", MultipleChoice, "acc", "a fact from the passage, then one of general knowledge"),
    ("world_winogrande", MultipleChoice, "acc", "which of two people a continuation fits"),
    ("mqar", Target, "token_acc", "values of keys listed before noise"),
    ("induction", Target, "token_acc", "what followed two words when they stood together before"),
    ("passkey", Target, "token_acc", "a five-digit code hidden in filler"),
    ("world_text", RunningText, "perplexity", "held-out narratives of 250 to 2000 tokens"),
];

static BOOKS: &[BuiltinTask] = books![
    (
        "books_lastword",
        Target,
        measures(TaskKind::Target),
        "loss",
        "last word of a sentence, which only an earlier place tells: recall"
    ),
    (
        "books_control",
        Target,
        measures(TaskKind::Target),
        "loss",
        "last word of a sentence, which the two words before it tell: fluency"
    ),
    (
        "books_next",
        MultipleChoice,
        measures(TaskKind::MultipleChoice),
        "acc_norm",
        "which of four sentences comes next"
    ),
    (
        "books_cloze",
        MultipleChoice,
        measures(TaskKind::MultipleChoice),
        "acc",
        "which person of a passage acts in the next sentence"
    ),
    ("books_text", RunningText, RECALLED_TEXT, "loss", "paragraphs of 1,700 to 11,400 characters, by class of token"),
    ("books_long", RunningText, RECALLED_TEXT, "loss", "about 32,000 tokens of twelve novels, by class of token"),
];

/// The reference tasks: an artificial world, one token a word, part of the program.
#[must_use]
pub fn builtin_tasks() -> &'static [BuiltinTask] {
    REFERENCE
}

/// The tasks cut from English novels, which come with the program as files.
#[must_use]
pub fn books_tasks() -> &'static [BuiltinTask] {
    BOOKS
}

/// The task of this name among both.
pub(super) fn find(name: &str) -> Option<&'static BuiltinTask> {
    REFERENCE.iter().chain(BOOKS).find(|task| task.name == name)
}

impl BuiltinTask {
    pub(super) fn items(&self) -> ItemTask {
        ItemTask {
            name: self.name.to_owned(),
            kind: Some(self.kind),
            measures: Some(self.measures),
            primary_metric: Some(self.primary_metric),
            lines: self.lines.clone(),
            cut: None,
        }
    }
}

/// The tokenizer for which the reference tasks are written.
///
/// # Errors
/// Never in practice: it is part of the program.
pub(super) fn reference_tokenizer() -> Result<Tokenizer, TaskError> {
    let reference = ssm_model::catalog::builtins().iter().map(|model| model.tokenizer_json).next();
    Tokenizer::from_json(reference.unwrap_or_default()).map_err(|error| TaskError::Tokenizer {
        file: "tokenizer.json".to_owned(),
        line: 0,
        error,
    })
}

/// Facts of a reference task in the tokens of the reference tokenizer.
///
/// # Errors
/// As [`ItemTask::load`].
pub(super) fn facts(task: &ItemTask) -> Result<TaskFacts, TaskError> {
    let digest = task.checked()?.digest;
    let task = task.load(&reference_tokenizer()?, Split::All, usize::MAX)?;
    let mean = |counts: Vec<usize>| counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64;
    Ok(TaskFacts {
        items: count(task.items.iter().map(|item| item.id.as_str())),
        mean_context_tokens: mean(task.items.iter().flat_map(|i| &i.contexts).map(|c| c.tokens.len()).collect()),
        mean_continuation_tokens: mean(
            task.items.iter().flat_map(|i| &i.requests).map(|r| r.continuation.len()).collect(),
        ),
        choices: task.items.iter().map(|item| item.requests.len().max(1)).max().unwrap_or(1),
        kind: task.kind,
        measures: task.measures,
        primary_metric: task.primary_metric,
        suspects: Suspects::default(),
        digest,
    })
}
