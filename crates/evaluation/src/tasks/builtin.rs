//! The reference tasks, compiled in.

use super::facts::{TaskFacts, count};
use super::fit::Suspects;
use super::ids::Ids;
use super::{Item, Split, Task, TaskError, TaskKind, in_split, wire};
use crate::score::metrics::measures;
use crate::tokenizer::Tokenizer;

/// A task that ships with the program.
#[derive(Clone, Copy, Debug)]
pub struct BuiltinTask {
    /// Name in experiment files.
    pub name: &'static str,
    /// What it asks, in one line.
    pub summary: &'static str,
    /// How it is scored.
    pub kind: TaskKind,
    /// The metric by which figures and tables show it.
    pub primary_metric: &'static str,
    /// One item a line; see the README beside the files.
    pub(super) jsonl: &'static str,
}

macro_rules! tasks {
    ($(($name:literal, $kind:ident, $metric:literal, $summary:literal)),* $(,)?) => {
        &[$(BuiltinTask {
            name: $name,
            summary: $summary,
            kind: TaskKind::$kind,
            primary_metric: $metric,
            jsonl: include_str!(concat!("../../assets/reference-tasks/", $name, ".jsonl")),
        }),*]
    };
}

static TASKS: &[BuiltinTask] = tasks![
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

/// All tasks that ship with the program.
#[must_use]
pub fn builtin_tasks() -> &'static [BuiltinTask] {
    TASKS
}

/// The items of a task in the tokens of a model: of those of the split at most `limit`.
///
/// # Errors
/// A line that is not a valid item.
pub(super) fn load(task: &BuiltinTask, tokenizer: &Tokenizer, split: Split, limit: usize) -> Result<Task, TaskError> {
    let lines = task.jsonl.lines().enumerate();
    let mut ids = Ids::default();
    let mut item = |(index, line)| {
        let item = wire::item(task.name, index + 1, line, task.kind, tokenizer)?;
        ids.add(&item.id, &format!("{}.jsonl", task.name), index + 1)?;
        Ok(item)
    };
    let items = lines
        .map(&mut item)
        // A damaged line belongs to no split: whoever comes upon it learns of it.
        .filter(|item: &Result<Item, TaskError>| item.as_ref().map_or(true, |item| in_split(split, &item.id)))
        .take(limit)
        .collect::<Result<_, _>>()?;
    Ok(Task {
        name: task.name.to_owned(),
        kind: task.kind,
        measures: measures(task.kind),
        primary_metric: task.primary_metric,
        items,
        truncated: 0,
    })
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

/// Facts of a task in the tokens of the reference tokenizer.
///
/// # Errors
/// As [`load`].
pub(super) fn facts(builtin: &BuiltinTask) -> Result<TaskFacts, TaskError> {
    let tokenizer = reference_tokenizer()?;
    let task = load(builtin, &tokenizer, Split::All, usize::MAX)?;
    let mean = |counts: Vec<usize>| counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64;
    Ok(TaskFacts {
        items: count(task.items.iter().map(|item| item.id.as_str())),
        mean_context_tokens: mean(task.items.iter().flat_map(|i| &i.contexts).map(|c| c.tokens.len()).collect()),
        mean_continuation_tokens: mean(
            task.items.iter().flat_map(|i| &i.requests).map(|r| r.continuation.len()).collect(),
        ),
        choices: task.items.iter().map(|item| item.requests.len().max(1)).max().unwrap_or(1),
        kind: task.kind,
        suspects: Suspects::default(),
        digest: blake3::hash(builtin.jsonl.as_bytes()).to_hex()[..16].to_owned(),
    })
}
