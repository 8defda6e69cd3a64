//! The reference tasks, compiled in.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use reduction_strategies::registry::nearest;

use super::{SPLITS, Split, TaskError, TaskKind, load};
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

pub(super) fn find(name: &str) -> Result<&'static BuiltinTask, TaskError> {
    TASKS.iter().find(|task| task.name == name).ok_or_else(|| TaskError::Unknown {
        name: name.to_owned(),
        nearest: nearest(name, TASKS.iter().map(|task| task.name)),
    })
}

/// What planning must know of a task: sizes in the tokens of the reference tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskFacts {
    /// Number of items in each split, in the order of [`SPLITS`].
    pub items: [usize; SPLITS.len()],
    /// Mean tokens of a context.
    pub mean_context_tokens: f64,
    /// Mean tokens of a continuation; 0 for running text.
    pub mean_continuation_tokens: f64,
    /// Largest number of continuations of an item.
    pub choices: usize,
    /// How it is scored.
    pub kind: TaskKind,
    /// Digest of the file.
    pub digest: String,
}

impl TaskFacts {
    /// Number of items that a split has.
    #[must_use]
    pub fn items_in(&self, split: Split) -> usize {
        self.items[split as usize]
    }
}

/// Facts of a task, counted once per process.
///
/// # Errors
/// An unknown task.
pub fn facts(name: &str) -> Result<TaskFacts, TaskError> {
    static KNOWN: Mutex<BTreeMap<&'static str, TaskFacts>> = Mutex::new(BTreeMap::new());
    let builtin = find(name)?;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(facts) = known.get(builtin.name) {
        return Ok(facts.clone());
    }
    let reference = ssm_model::catalog::builtins().iter().map(|model| model.tokenizer_json).next();
    let tokenizer = Tokenizer::from_json(reference.unwrap_or_default()).map_err(|error| TaskError::Tokenizer {
        file: "tokenizer.json".to_owned(),
        line: 0,
        error,
    })?;
    let task = load(name, &tokenizer, Split::All, None)?;
    let mean = |counts: Vec<usize>| counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64;
    let facts = TaskFacts {
        items: SPLITS.map(|(_, split)| task.items.iter().filter(|item| split.contains(&item.id)).count()),
        mean_context_tokens: mean(task.items.iter().flat_map(|i| &i.contexts).map(|c| c.tokens.len()).collect()),
        mean_continuation_tokens: mean(
            task.items.iter().flat_map(|i| &i.requests).map(|r| r.continuation.len()).collect(),
        ),
        choices: task.items.iter().map(|item| item.requests.len().max(1)).max().unwrap_or(1),
        kind: task.kind,
        digest: blake3::hash(builtin.jsonl.as_bytes()).to_hex()[..16].to_owned(),
    };
    known.insert(builtin.name, facts.clone());
    Ok(facts)
}
