//! Tasks: items in the tokens of a model, and how they are scored.
//!
//! The reference tasks are compiled in ([`builtin_tasks`]), those cut from novels come as files ([`books_tasks`]), and a user's own are
//! files of the same format. The benchmarks are read from a data directory or a hub ([`benchmarks()`]) and put to the model as
//! lm-evaluation-harness puts them.

mod benchmarks;
mod builtin;
mod data;
mod document;
mod encode;
mod error;
mod facts;
mod fewshot;
mod fit;
mod ids;
pub(crate) mod item;
mod item_task;
mod lines;
mod part;
mod prompting;
mod reference;
mod rows;
mod split;
mod words;

use rayon::prelude::*;

pub use benchmarks::{Benchmark, benchmarks};
pub use builtin::{BuiltinTask, books_tasks, builtin_tasks};
pub use data::{Data, DatasetError, Datasets, MOST_BYTES, MOST_ROWS};
pub use document::{Document, TextRequest};
pub use error::TaskError;
pub use facts::{TaskFacts, facts};
pub use fit::{Suspects, is_suspicious, longer_than_max_length};
pub use item::{Context, Item, ItemFacts, Request, TaskKind, TokenClass};
pub use part::{HubSplit, Part};
pub use prompting::{Prompting, Source};
pub use reference::{Cut, TaskRef, is_file_of_items};
pub use split::{SPLITS, Split, in_split};

use crate::score::metrics::Measure;
use crate::tokenizer::Tokenizer;
use benchmarks::Form;
use item_task::{ItemTask, Lines};
use reduction_strategies::spelling::nearest;

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Name in experiment files and records.
    pub name: String,
    /// How it is scored.
    pub kind: TaskKind,
    /// What is reported of it.
    pub measures: &'static [Measure],
    /// The metric by which figures and tables show it.
    pub primary_metric: &'static str,
    /// The items, in file order.
    pub items: Vec<Item>,
    /// Requests whose context lost tokens on the left because context and continuation were longer than
    /// [`Prompting::max_length`] allows.
    pub truncated: usize,
}

/// Items that were encoded beside each other; the error is that of the first line with one, whichever thread met its own first.
fn in_order<T>(items: Vec<Result<T, TaskError>>) -> Result<Vec<T>, TaskError> {
    items.into_iter().collect()
}

/// A task that is known.
enum Known {
    Lines(ItemTask),
    Benchmark(&'static Benchmark),
}

impl Known {
    fn find(task: &TaskRef) -> Result<Self, TaskError> {
        let benchmark = benchmarks().iter().find(|benchmark| benchmark.name == task.source);
        let (name, cut) = (task.name(), task.cut);
        let known = match (task.file(), builtin::find(&task.source), benchmark) {
            (Some(file), ..) => Self::Lines(ItemTask {
                name,
                kind: None,
                measures: None,
                primary_metric: None,
                lines: Lines::File(file),
                cut,
            }),
            (None, Some(builtin), _) => Self::Lines(ItemTask { name, cut, ..builtin.items() }),
            (None, None, Some(benchmark)) => Self::Benchmark(benchmark),
            (None, None, None) => {
                let own = builtin_tasks().iter().chain(books_tasks()).map(|task| task.name);
                let names = own.chain(benchmarks().iter().map(|task| task.name));
                let alike = match nearest(&task.source, names.clone()) {
                    Some(near) => vec![near],
                    // `lambada` is a part of two names and a misspelling of neither.
                    None => names.filter(|name| format!("_{name}_").contains(&format!("_{}_", task.source))).collect(),
                };
                return Err(TaskError::Unknown { name: task.source.clone(), alike });
            }
        };
        match known {
            Self::Benchmark(benchmark) if cut.is_some() => Err(TaskError::NoCut { name: benchmark.name }),
            known => Ok(known),
        }
    }

    /// Refuses few-shot prompts of a task that has nothing to make them of.
    fn check(&self, prompting: Prompting) -> Result<(), TaskError> {
        let takes_examples = match self {
            Self::Lines(_) => false,
            Self::Benchmark(task) => !task.train.files.is_empty(),
        };
        if prompting.fewshot == 0 || takes_examples {
            return Ok(());
        }
        let task = match self {
            Self::Lines(task) => task.name.clone(),
            Self::Benchmark(task) => task.name.to_owned(),
        };
        Err(TaskError::NoExamples { task, files: Vec::new() })
    }
}

/// Loads a task in the tokens of a model: of the items of the split at most `limit`, from the front.
///
/// # Errors
/// An unknown task, a benchmark or file that is not there, or a line of its file that is not a valid item.
pub fn load(
    task: impl Into<TaskRef>,
    source: &Source,
    tokenizer: &Tokenizer,
    split: Split,
    limit: Option<usize>,
) -> Result<Task, TaskError> {
    let limit = limit.unwrap_or(usize::MAX);
    let task = Known::find(&task.into())?;
    task.check(source.prompting)?;
    match task {
        Known::Lines(task) => task.load(tokenizer, split, limit),
        Known::Benchmark(task) => {
            let mut files = source.files(task.name);
            let encoded: Vec<encode::Encoded> = match task.form {
                Form::Documents(_) => {
                    let documents = task.documents(&mut files, &source.prompting, split, limit)?;
                    let encode =
                        |document: &Document| encode::item(document, task.kind, tokenizer, source.prompting.max_length);
                    in_order(documents.par_iter().map(encode).collect())?
                }
                Form::Books(plan, build) => {
                    let books = benchmarks::books(&mut files)?;
                    let wanted = plan(&books).into_iter().filter(|place| in_split(split, &place.id)).take(limit);
                    let wanted: Vec<_> = wanted.collect();
                    in_order(wanted.par_iter().map(|place| build(&books, place, tokenizer)).collect())?
                }
            };
            let truncated = encoded.iter().map(|encoded| encoded.truncated).sum();
            let items = encoded.into_iter().map(|encoded| encoded.item).collect();
            Ok(Task {
                name: task.name.to_owned(),
                kind: task.kind,
                measures: task.measures,
                primary_metric: task.primary_metric,
                items,
                truncated,
            })
        }
    }
}

/// The documents of a benchmark as text, before any tokenizer: of those of the split at most `limit`, from the front. The requests
/// are what lm-evaluation-harness holds in `Instance.arguments`.
///
/// # Errors
/// As [`load`]; a task that is no benchmark, or whose items are cut by tokens and so have no text of their own.
pub fn documents(name: &str, source: &Source, split: Split, limit: Option<usize>) -> Result<Vec<Document>, TaskError> {
    match Known::find(&name.into())? {
        Known::Benchmark(task) => {
            let mut files = source.files(task.name);
            task.documents(&mut files, &source.prompting, split, limit.unwrap_or(usize::MAX))
        }
        Known::Lines(_) => Err(TaskError::NoDocuments { name: name.to_owned() }),
    }
}
