use hint::Hint;
use ssm_model::shipped::NotShipped;
use thiserror::Error;

use super::DatasetError;
use crate::tokenizer::TokenizerError;

/// Why a task could not be loaded.
#[derive(Debug, Error)]
pub enum TaskError {
    /// No task of that name.
    #[error("unknown task `{name}`")]
    Unknown {
        /// What was written.
        name: String,
        /// The closest known name, or those of which it is a part.
        alike: Vec<&'static str>,
    },
    /// A benchmark, and no data directory.
    #[error("`{task}` is a benchmark whose files are not part of this program, and no data directory was named")]
    NoDataDir {
        /// The task.
        task: &'static str,
    },
    /// A data directory without the files of a benchmark.
    #[error("`{task}` has no data in {folder}: there is no {}", looked.join(" and no "))]
    NoData {
        /// The task.
        task: &'static str,
        /// The data directory.
        folder: String,
        /// What was looked for, below it.
        looked: Vec<String>,
        /// The data set on the hub that holds the same, where one does.
        hub: Option<&'static str>,
    },
    /// A data set of a hub that cannot be had.
    #[error("`{task}`: {}", error.message)]
    Dataset {
        /// The task.
        task: &'static str,
        /// What is wrong.
        error: DatasetError,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        error: String,
    },
    /// A pipe, a device or a folder where a file should be.
    #[error("{path} is no regular file")]
    NotAFile {
        /// What is there.
        path: String,
    },
    /// A file with more in it than a benchmark has.
    #[error("{path} has more than {limit}")]
    TooLarge {
        /// The file.
        path: String,
        /// What it has too much of, with the limit.
        limit: String,
    },
    /// Two items of one id.
    #[error("{file}:{line}: the id `{id}` is already on line {first}")]
    Repeated {
        /// The file.
        file: String,
        /// 1-based line of the second one.
        line: usize,
        /// The id.
        id: String,
        /// 1-based line of the first one.
        first: usize,
    },
    /// A row that is not what a benchmark reads.
    #[error("{file}:{line}: {problem}")]
    Row {
        /// The file, below the data directory.
        file: String,
        /// 1-based line.
        line: usize,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// A file of items that is not there.
    #[error("there is no file {path}")]
    NoFile {
        /// Where it should be.
        path: String,
    },
    /// A file that comes with the program and is not on this machine.
    #[error(transparent)]
    NotShipped(NotShipped),
    /// A stretch of text that is asked of a task without running text.
    #[error("`{name}` is not running text, so `context` cannot cut it")]
    NoText {
        /// The task.
        name: String,
    },
    /// A stretch of text that is asked of a benchmark.
    #[error("`{name}` is a benchmark, and `context` cuts texts that are items of a file")]
    NoCut {
        /// The task.
        name: &'static str,
    },
    /// Few-shot prompts for a task that has nothing to draw examples from.
    #[error("`{task}` has no training split to draw the examples of `fewshot` from")]
    NoExamples {
        /// The task.
        task: String,
        /// Files that would serve; none where the task takes no examples at all.
        files: Vec<String>,
    },
    /// A training split that is smaller than a prompt.
    #[error("`{task}`: {wanted} examples are drawn for a prompt, the training split has {there}")]
    FewExamples {
        /// The task.
        task: &'static str,
        /// Examples that are drawn.
        wanted: usize,
        /// Examples that are there.
        there: usize,
    },
    /// Fewer examples under the heading of a question than its prompt shows.
    #[error("`{task}`: {wanted} examples are to stand before a question, and {there} are there for {heading:?}")]
    FewUnderHeading {
        /// The task.
        task: &'static str,
        /// Examples that are to be shown.
        wanted: usize,
        /// Examples that are there.
        there: usize,
        /// The heading.
        heading: String,
    },
    /// Documents of a task whose items are made of tokens.
    #[error("`{name}` has no documents: its items are given, or cut, in tokens")]
    NoDocuments {
        /// The task.
        name: String,
    },
    /// A line that is not a valid item.
    #[error("{file}:{line}: {problem}")]
    Line {
        /// The file.
        file: String,
        /// 1-based line.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A text that the tokenizer refuses.
    #[error("{file}:{line}: {error}")]
    Tokenizer {
        /// The file.
        file: String,
        /// 1-based line.
        line: usize,
        /// What it says.
        error: TokenizerError,
    },
}

impl Hint for TaskError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { alike, .. } if alike.is_empty() => Some("`sweep tasks` lists them all".to_owned()),
            Self::Unknown { alike, .. } => Some(format!("did you mean `{}`?", alike.join("` or `"))),
            Self::NoDataDir { .. } => Some(
                "name the folder that holds them with --data-dir DIR or SWEEP_DATA_DIR; docs/models-and-data.md says what it holds"
                    .to_owned(),
            ),
            Self::NoData { hub, .. } => {
                let files = "a file may be compressed by bzip2, with .bz2 behind its name; docs/models-and-data.md says what is read";
                Some(match hub {
                    Some(repository) => format!("{files}. Without a data directory the rows of {repository} are downloaded"),
                    None => files.to_owned(),
                })
            }
            Self::Dataset { error, .. } => error.hint.clone(),
            Self::Unreadable { .. } => Some("the file must be UTF-8 text, or such text compressed by bzip2".to_owned()),
            Self::NotAFile { .. } => Some("pipes and devices are not read; write the rows into a file".to_owned()),
            Self::TooLarge { .. } => {
                Some("no benchmark has as much: this is another file, or a damaged one".to_owned())
            }
            Self::Repeated { .. } => {
                Some("results are compared item by item, and ids say which is which: give every row an id of its own".to_owned())
            }
            Self::Row { hint, .. } => Some(hint.clone()),
            Self::NoExamples { files, .. } if files.is_empty() => {
                Some("leave the task out, or set `fewshot: 0`".to_owned())
            }
            Self::NoExamples { files, .. } => {
                Some(format!("put {} into the data directory, or set `fewshot: 0`", files.join(" or ")))
            }
            Self::FewExamples { .. } | Self::FewUnderHeading { .. } => Some("ask for fewer with `fewshot`".to_owned()),
            Self::NoDocuments { .. } => Some("documents are those of the benchmarks; see `sweep tasks`".to_owned()),
            Self::NoFile { .. } => {
                Some("a path counts from the folder in which the program runs; write the name of a known task without `/`".to_owned())
            }
            Self::NotShipped(error) => error.hint(),
            Self::NoCut { .. } => {
                Some("long texts of benchmarks are read in windows of `max_length`; cut books_long, or a file of your own".to_owned())
            }
            Self::NoText { .. } => Some("`context` is for tasks of running text, for example books_long".to_owned()),
            Self::Line { .. } => Some("docs/own-tasks.md describes the format: one item per line".to_owned()),
            Self::Tokenizer { error, .. } => error.hint(),
        }
    }
}
