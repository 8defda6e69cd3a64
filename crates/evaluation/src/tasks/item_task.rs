//! Tasks whose items are lines of a file: part of the program, with the program, or a file of a user.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use ssm_model::shipped;

use super::data::read;
use super::ids::Ids;
use super::lines::{self, Author, Place, TextItem};
use super::reference::Cut;
use super::{Item, Split, Task, TaskError, TaskKind, in_order, in_split};
use crate::score::metrics::Measure;
use crate::tokenizer::Tokenizer;

/// Where the lines of a task are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// Part of the program.
    Embedded(&'static str),
    /// Compressed, with the program ([`shipped`]).
    Shipped(&'static str),
    /// A file of a user.
    File(PathBuf),
}

/// A task of lines.
#[derive(Clone, Debug)]
pub(super) struct ItemTask {
    pub(super) name: String,
    /// The kind that every line must be; where there is none, that of the first line.
    pub(super) kind: Option<TaskKind>,
    pub(super) measures: Option<&'static [Measure]>,
    pub(super) primary_metric: Option<&'static str>,
    pub(super) lines: Lines,
    pub(super) cut: Option<Cut>,
}

/// The lines of a task, read.
pub(super) struct ReadTask {
    pub(super) kind: TaskKind,
    /// Each with its 1-based line.
    pub(super) items: Vec<(usize, TextItem)>,
    /// Digest of the lines and of the stretch that is asked.
    pub(super) digest: String,
    file: String,
}

impl ItemTask {
    /// Reads and checks every line, as text.
    ///
    /// # Errors
    /// A file that cannot be read, a line that is no item, items of several kinds, two items of one id, no item at all.
    pub(super) fn checked(&self) -> Result<ReadTask, TaskError> {
        let file = match &self.lines {
            Lines::File(path) => path.display().to_string(),
            Lines::Embedded(_) | Lines::Shipped(_) => format!("{}.jsonl", self.source_name()),
        };
        let author = if matches!(self.lines, Lines::File(_)) { Author::User } else { Author::Program };
        let text = self.text()?;
        let mut kind = self.kind;
        let mut ids = Ids::default();
        let mut items = Vec::new();
        let lines: Vec<&str> = text.trim_end().lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let place = Place { file: &file, line: index + 1 };
            if line.trim().is_empty() {
                let problem = "the line is blank; each line is one item".to_owned();
                return Err(TaskError::Line { file: file.clone(), line: index + 1, problem });
            }
            let (found, item) = lines::read(place, author, line)?;
            let wanted = *kind.get_or_insert(found);
            if found != wanted {
                let (found, wanted) = (lines::name(found), lines::name(wanted));
                let problem =
                    format!("this is {found}, but the first line is {wanted}; all items of a file have one form");
                return Err(TaskError::Line { file: file.clone(), line: index + 1, problem });
            }
            ids.add(&item.id, &file, index + 1)?;
            items.push((index + 1, item));
        }
        let Some(kind) = kind.filter(|_| !items.is_empty()) else {
            return Err(TaskError::Line { file, line: 1, problem: "the file holds no item".to_owned() });
        };
        if self.cut.is_some() && kind != TaskKind::RunningText {
            return Err(TaskError::NoText { name: self.source_name() });
        }
        let mut digest = blake3::Hasher::new();
        digest.update(text.as_bytes());
        if let Some(Cut { context, start, continuation }) = self.cut {
            digest.update(format!("\ncut context {context} start {start} continuation {continuation}").as_bytes());
        }
        Ok(ReadTask { kind, items, digest: digest.finalize().to_hex()[..16].to_owned(), file })
    }

    /// The items in the tokens of a model: of those of the split at most `limit`.
    ///
    /// # Errors
    /// As [`ItemTask::checked`], and an item that has no place in the tokens.
    pub(super) fn load(&self, tokenizer: &Tokenizer, split: Split, limit: usize) -> Result<Task, TaskError> {
        let read = self.checked()?;
        let wanted: Vec<&(usize, TextItem)> =
            read.items.iter().filter(|(_, item)| in_split(split, &item.id)).take(limit).collect();
        let encode = |(line, item): &&(usize, TextItem)| -> Result<Item, TaskError> {
            lines::encode(Place { file: &read.file, line: *line }, item, tokenizer, self.cut)
        };
        let items = in_order(wanted.par_iter().map(encode).collect())?;
        Ok(Task {
            name: self.name.clone(),
            kind: read.kind,
            measures: self.measures(&read),
            primary_metric: self.primary_metric(read.kind),
            items,
            truncated: 0,
        })
    }

    pub(super) fn measures(&self, read: &ReadTask) -> &'static [Measure] {
        let recalls =
            read.items.iter().any(|(_, item)| item.text.as_ref().is_some_and(|text| !text.recalls.is_empty()));
        match (self.measures, read.kind) {
            (Some(measures), _) => measures,
            (None, TaskKind::MultipleChoice) => CHOICE,
            (None, TaskKind::Target) => TARGET,
            (None, TaskKind::RunningText) if recalls => RECALLED_TEXT,
            (None, TaskKind::RunningText) => TEXT,
        }
    }

    /// The metric by which the task is shown.
    pub(super) fn primary_metric(&self, kind: TaskKind) -> &'static str {
        self.primary_metric.unwrap_or(match kind {
            TaskKind::MultipleChoice | TaskKind::Target => "acc",
            TaskKind::RunningText => "loss",
        })
    }

    fn source_name(&self) -> String {
        match &self.lines {
            Lines::Shipped(name) => (*name).to_owned(),
            Lines::Embedded(_) | Lines::File(_) => self.name.clone(),
        }
    }

    fn text(&self) -> Result<Cow<'static, str>, TaskError> {
        match &self.lines {
            Lines::Embedded(text) => Ok(Cow::Borrowed(text)),
            Lines::Shipped(name) => {
                let path = shipped::path(&format!("books-tasks/{name}.jsonl.bz2")).map_err(TaskError::NotShipped)?;
                whole(&path).map(Cow::Owned)
            }
            Lines::File(path) => whole(path).map(Cow::Owned),
        }
    }
}

const CHOICE: &[Measure] = &[Measure::Acc, Measure::AccNorm, Measure::Loss];
const TARGET: &[Measure] = &[Measure::Acc, Measure::TokenAcc, Measure::Perplexity, Measure::Loss];
const TEXT: &[Measure] = &[Measure::Loss, Measure::Perplexity, Measure::BitsPerByte];
/// Of running text with recalled words, by class of token and by distance to the earlier mention.
pub(super) const RECALLED_TEXT: &[Measure] = &[
    Measure::Loss,
    Measure::Perplexity,
    Measure::BitsPerByte,
    Measure::RecallLoss,
    Measure::ContentLoss,
    Measure::FunctionLoss,
    Measure::OtherLoss,
    Measure::RecallLossNear,
    Measure::RecallLossMiddle,
    Measure::RecallLossFar,
    Measure::RecallLossFarthest,
];

fn whole(path: &Path) -> Result<String, TaskError> {
    read(path)?.ok_or_else(|| TaskError::NoFile { path: path.display().to_string() })
}
