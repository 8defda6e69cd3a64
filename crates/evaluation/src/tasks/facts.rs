//! What planning must know of a task, counted without running a model.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::benchmarks::{Benchmark, BookPlace, Form, books};
use super::fit::Suspects;
use super::item_task::{ItemTask, Lines};
use super::{Known, Prompting, SPLITS, Source, Split, TaskError, TaskKind, TaskRef, builtin, in_split};
use crate::score::metrics::Measure;

/// Characters of a token of English with a subword tokenizer, about: benchmarks are planned before any model is chosen.
pub(super) const CHARACTERS_PER_TOKEN: f64 = 4.3;

/// What planning must know of a task. Sizes are in the tokens of the reference tokenizer for the reference tasks, estimated from
/// characters for benchmarks.
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
    /// What is reported of it.
    pub measures: &'static [Measure],
    /// The metric by which figures and tables show it.
    pub primary_metric: &'static str,
    /// Digest of the data and of how it is asked.
    pub digest: String,
    /// What may not fit some tokenizer.
    pub suspects: Suspects,
}

impl TaskFacts {
    /// Number of items that a split has.
    #[must_use]
    pub fn items_in(&self, split: Split) -> usize {
        self.items[split as usize]
    }
}

/// What facts of a benchmark depend on, beside the content of files.
type Key = (&'static str, Option<PathBuf>, (usize, u64, usize));

/// Facts of a task; those of benchmarks and reference tasks are counted once per process.
///
/// # Errors
/// An unknown task, or one whose files are not there or damaged.
pub fn facts(task: impl Into<TaskRef>, source: &Source) -> Result<TaskFacts, TaskError> {
    static KNOWN: Mutex<BTreeMap<Key, TaskFacts>> = Mutex::new(BTreeMap::new());
    let task = Known::find(&task.into())?;
    task.check(source.prompting)?;
    let Prompting { fewshot, fewshot_seed, max_length } = source.prompting;
    let key: Key = match &task {
        Known::Lines(task) => match (&task.lines, builtin::find(&task.name)) {
            (Lines::Embedded(_), Some(builtin)) if task.cut.is_none() => (builtin.name, None, (0, 0, 0)),
            _ => return of_lines(task),
        },
        Known::Benchmark(task) => {
            (task.name, source.data.folder().map(PathBuf::from), (fewshot, fewshot_seed, max_length))
        }
    };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(facts) = known.get(&key) {
        return Ok(facts.clone());
    }
    let facts = match &task {
        Known::Lines(task) => builtin::facts(task)?,
        Known::Benchmark(task) => of_benchmark(task, source)?,
    };
    known.insert(key, facts.clone());
    Ok(facts)
}

/// Facts of a file of items, from characters.
fn of_lines(task: &ItemTask) -> Result<TaskFacts, TaskError> {
    let read = task.checked()?;
    let items = || read.items.iter().map(|(_, item)| item);
    let tokens = |characters: usize, texts: usize| characters as f64 / CHARACTERS_PER_TOKEN / texts.max(1) as f64;
    let texts = || items().filter_map(|item| item.text.as_ref());
    let contexts = || items().flat_map(|item| &item.contexts).map(|context| &context.text);
    let requests = || items().flat_map(|item| &item.requests).map(|request| &request.text);
    let characters = |text: &String| text.chars().count();
    Ok(TaskFacts {
        items: count(items().map(|item| item.id.as_str())),
        mean_context_tokens: match task.cut {
            Some(cut) => (cut.context + cut.continuation) as f64,
            None => tokens(
                contexts().map(characters).sum::<usize>() + texts().map(|text| characters(&text.text)).sum::<usize>(),
                contexts().count() + texts().count(),
            ),
        },
        mean_continuation_tokens: tokens(requests().map(characters).sum(), requests().count()),
        choices: items().map(|item| item.requests.len().max(1)).max().unwrap_or(1),
        kind: read.kind,
        measures: task.measures(&read),
        primary_metric: task.primary_metric(read.kind),
        suspects: Suspects::default(),
        digest: read.digest,
    })
}

fn of_benchmark(task: &Benchmark, source: &Source) -> Result<TaskFacts, TaskError> {
    let mut files = source.files(task.name);
    let mut facts = match task.form {
        Form::Documents(_) => {
            let documents = task.documents(&mut files, &source.prompting, Split::All, usize::MAX)?;
            let tokens = |characters: usize| characters as f64 / CHARACTERS_PER_TOKEN;
            let running_text = task.kind == TaskKind::RunningText;
            let requests = || documents.iter().flat_map(|document| &document.requests);
            let contexts = requests().map(|request| request.context.chars().count()).sum();
            let continuations = requests().map(|request| request.continuation.chars().count()).sum();
            let n = requests().count() as f64;
            // The tokens of a running text are all context, as those of the reference task are.
            let (contexts, continuations) = if running_text { (continuations, 0) } else { (contexts, continuations) };
            TaskFacts {
                items: count(documents.iter().map(|document| document.id.as_str())),
                mean_context_tokens: tokens(contexts) / n,
                mean_continuation_tokens: tokens(continuations) / n,
                choices: documents.iter().map(|document| document.requests.len()).max().unwrap_or(1),
                kind: task.kind,
                measures: task.measures,
                primary_metric: task.primary_metric,
                digest: String::new(),
                suspects: Suspects {
                    // Running text is cut into windows.
                    longest_continuation: if running_text {
                        0
                    } else {
                        requests().map(|request| request.continuation.len()).max().unwrap_or(0)
                    },
                    empty_context: requests().any(|request| request.context.is_empty()),
                    short_book: false,
                },
            }
        }
        Form::Books(plan, _) => {
            let books = books(&mut files)?;
            let places = plan(&books);
            let tokens: usize = places.iter().map(BookPlace::tokens).sum();
            TaskFacts {
                items: count(places.iter().map(|place| place.id.as_str())),
                mean_context_tokens: tokens as f64 / places.len().max(1) as f64,
                mean_continuation_tokens: if task.kind == TaskKind::RunningText { 0.0 } else { 2.0 },
                choices: if task.kind == TaskKind::MultipleChoice { 4 } else { 1 },
                kind: task.kind,
                measures: task.measures,
                primary_metric: task.primary_metric,
                digest: String::new(),
                suspects: Suspects {
                    short_book: places.iter().any(|place| place.may_lack_tokens(&books)),
                    ..Suspects::default()
                },
            }
        }
    };
    facts.digest = task.digest(&files, &source.prompting);
    Ok(facts)
}

/// Items in each split.
pub(super) fn count<'a>(ids: impl Iterator<Item = &'a str>) -> [usize; SPLITS.len()] {
    let mut counts = [0; SPLITS.len()];
    for id in ids {
        for (count, (_, split)) in counts.iter_mut().zip(SPLITS) {
            *count += usize::from(in_split(split, id));
        }
    }
    counts
}
