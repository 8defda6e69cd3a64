//! Tasks: items in the tokens of a model, and how they are scored.
//!
//! The reference tasks are compiled in ([`builtin_tasks`]); the benchmarks are read from a data directory or a hub ([`benchmarks()`]) and put to
//! the model as lm-evaluation-harness puts them.

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
mod part;
mod prompting;
mod rows;
mod split;
mod wire;

use rayon::prelude::*;

pub use benchmarks::{Benchmark, benchmarks};
pub use builtin::{BuiltinTask, builtin_tasks};
pub use data::{Data, DatasetError, Datasets, MOST_BYTES, MOST_ROWS};
pub use document::{Document, TextRequest};
pub use error::TaskError;
pub use facts::{TaskFacts, facts};
pub use fit::{Suspects, Unfit, unfit};
pub use item::{Context, Item, ItemFacts, Request, TaskKind};
pub use part::{HubSplit, Part};
pub use prompting::{Prompting, Source};
pub use split::{SPLITS, Split, in_split};

use crate::score::metrics::Measure;
use crate::tokenizer::Tokenizer;
use benchmarks::Form;
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

/// A task by its name.
enum Known {
    Builtin(&'static BuiltinTask),
    Benchmark(&'static Benchmark),
}

impl Known {
    /// Refuses few-shot prompts of a task that has nothing to make them of.
    fn check(&self, prompting: Prompting) -> Result<(), TaskError> {
        let (name, takes_examples) = match self {
            Self::Builtin(task) => (task.name, false),
            Self::Benchmark(task) => (task.name, !task.train.files.is_empty()),
        };
        if prompting.fewshot > 0 && !takes_examples {
            return Err(TaskError::NoExamples { task: name, files: Vec::new() });
        }
        Ok(())
    }
}

fn find(name: &str) -> Result<Known, TaskError> {
    let builtin = builtin_tasks().iter().find(|task| task.name == name).map(Known::Builtin);
    let benchmark = || benchmarks().iter().find(|task| task.name == name).map(Known::Benchmark);
    builtin.or_else(benchmark).ok_or_else(|| {
        let names = builtin_tasks().iter().map(|task| task.name).chain(benchmarks().iter().map(|task| task.name));
        TaskError::Unknown { name: name.to_owned(), nearest: nearest(name, names) }
    })
}

/// The metric by which figures and tables show a task.
#[must_use]
pub fn primary_metric(name: &str) -> Option<&'static str> {
    match find(name).ok()? {
        Known::Builtin(task) => Some(task.primary_metric),
        Known::Benchmark(task) => Some(task.primary_metric),
    }
}

/// Loads a task in the tokens of a model: of the items of the split at most `limit`, from the front.
///
/// # Errors
/// An unknown task, a benchmark whose files are not there, or a line of its file that is not a valid item.
pub fn load(
    name: &str,
    source: &Source,
    tokenizer: &Tokenizer,
    split: Split,
    limit: Option<usize>,
) -> Result<Task, TaskError> {
    let limit = limit.unwrap_or(usize::MAX);
    let task = find(name)?;
    task.check(source.prompting)?;
    match task {
        Known::Builtin(task) => builtin::load(task, tokenizer, split, limit),
        Known::Benchmark(task) => {
            let mut files = source.files(task.name);
            let encoded: Vec<encode::Encoded> = match task.form {
                Form::Documents(_) => {
                    let documents = task.documents(&mut files, &source.prompting, split, limit)?;
                    let encode =
                        |document: &Document| encode::item(document, task.kind, tokenizer, source.prompting.max_length);
                    documents.par_iter().map(encode).collect::<Result<_, _>>()?
                }
                Form::Books(plan, build) => {
                    let books = benchmarks::books(&mut files)?;
                    let wanted = plan(&books).into_iter().filter(|place| in_split(split, &place.id)).take(limit);
                    let wanted: Vec<_> = wanted.collect();
                    wanted.par_iter().map(|place| build(&books, place, tokenizer)).collect::<Result<_, _>>()?
                }
            };
            let truncated = encoded.iter().map(|encoded| encoded.truncated).sum();
            let items = encoded.into_iter().map(|encoded| encoded.item).collect();
            Ok(Task {
                name: name.to_owned(),
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
    match find(name)? {
        Known::Benchmark(task) => {
            let mut files = source.files(task.name);
            task.documents(&mut files, &source.prompting, split, limit.unwrap_or(usize::MAX))
        }
        Known::Builtin(_) => Err(TaskError::NoDocuments { name: name.to_owned() }),
    }
}
