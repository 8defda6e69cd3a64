//! The benchmarks: one file each, from the rows of its data to documents, as lm-evaluation-harness 0.4.13 builds them.

mod arc;
mod books;
mod boolq;
mod hellaswag;
mod lambada;
mod longdocs;
mod mmlu;
mod needle;
mod openbookqa;
mod passkey;
mod piqa;
mod retrieval;
mod sciq;
mod wikitext;
mod winogrande;

use std::fmt;

use super::data::{DataFile, Files};
use super::document::Document;
use super::encode::Encoded;
use super::fewshot::{Draw, with_examples};
use super::ids::Ids;
use super::part::Part;
use super::prompting::Prompting;
use super::rows::{Row, rows};
use super::{Split, TaskError, TaskKind, in_split};
use crate::score::metrics::Measure;
use crate::tokenizer::Tokenizer;

pub(super) use books::{Book, BookPlace, books};

/// A task whose data is read from the data directory or from a hub.
#[derive(Clone, Copy, Debug)]
pub struct Benchmark {
    /// Name in experiment files; lm-evaluation-harness's where it has the task.
    pub name: &'static str,
    /// What it asks, in one line.
    pub summary: &'static str,
    /// How it is scored.
    pub kind: TaskKind,
    /// What is reported of it.
    pub measures: &'static [Measure],
    /// The metric by which figures and tables show it.
    pub primary_metric: &'static str,
    /// What of the data directory it reads.
    pub data: Part,
    /// Solved examples to draw from for few-shot prompts; no files where the task takes none.
    pub train: Part,
    /// Which of them stand before a question.
    pub(super) draw: Draw,
    /// Raised whenever the same rows give other requests. Part of the digest of the task.
    pub(super) version: u32,
    pub(super) form: Form,
}

/// From a file, and its labels where it has a file of them, to all documents.
type Read = fn(&DataFile, Option<&DataFile>) -> Result<Vec<Document>, TaskError>;

/// How items come about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// Text first, tokens then.
    Documents(Read),
    /// Cut out of books by tokens: what there is to be made of the books, and how each is made.
    Books(fn(&[Book]) -> Vec<BookPlace>, fn(&[Book], &BookPlace, &Tokenizer) -> Result<Encoded, TaskError>),
}

/// Primary metrics are the columns of the paper's Table 1: accuracy and perplexity of LAMBADA, accuracy elsewhere. It does not say
/// which accuracy; `acc_norm` for `HellaSwag` and ARC challenge and `acc` for the others is an inference: its dense values are those
/// that the Mamba paper published for the same models, and that paper chose so. That of `OpenBookQA` is one of the same
/// kind, from the Mamba-2 paper.
static BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "lambada_openai",
        summary: "last word of a passage",
        kind: TaskKind::Target,
        measures: &[Measure::Acc, Measure::TargetPerplexity, Measure::Loss],
        primary_metric: "acc",
        data: Part::rows(&["lambada/lambada_test.jsonl", "lambada/lambada_test_en.jsonl"]).hub(
            "EleutherAI/lambada_openai",
            "default",
            "test",
        ),
        train: Part::NONE,
        draw: Draw::Sample,
        version: 1,
        form: Form::Documents(lambada::documents),
    },
    Benchmark {
        name: "hellaswag",
        summary: "which of four endings fits a description",
        kind: TaskKind::MultipleChoice,
        measures: &[Measure::Acc, Measure::AccNorm, Measure::Loss],
        primary_metric: "acc_norm",
        data: Part::rows(&["hellaswag/hellaswag_val.jsonl", "hellaswag/hellaswag_val_preprocessed.jsonl"]).hub(
            "Rowan/hellaswag",
            "default",
            "validation",
        ),
        train: Part::rows(&["hellaswag/hellaswag_train.jsonl"]).hub("Rowan/hellaswag", "default", "train"),
        draw: Draw::SampleWithSpare,
        version: 1,
        form: Form::Documents(hellaswag::documents),
    },
    Benchmark {
        name: "piqa",
        summary: "which of two solutions reaches a goal",
        kind: TaskKind::MultipleChoice,
        measures: &[Measure::Acc, Measure::AccNorm, Measure::Loss],
        primary_metric: "acc",
        data: Part::rows(&["piqa/valid.jsonl"]).labels(&["piqa/valid-labels.lst"]).hub(
            "baber/piqa",
            "default",
            "validation",
        ),
        train: Part::rows(&["piqa/train.jsonl"]).labels(&["piqa/train-labels.lst"]).hub(
            "baber/piqa",
            "default",
            "train",
        ),
        draw: Draw::SampleWithSpare,
        version: 1,
        form: Form::Documents(piqa::documents),
    },
    Benchmark {
        name: "arc_easy",
        summary: "science questions of school tests, the easy ones",
        kind: TaskKind::MultipleChoice,
        measures: &[Measure::Acc, Measure::AccNorm, Measure::Loss],
        primary_metric: "acc",
        data: Part::rows(&["arc/ARC-Easy-Test.jsonl"]).hub("allenai/ai2_arc", "ARC-Easy", "test"),
        train: Part::rows(&["arc/ARC-Easy-Train.jsonl"]).hub("allenai/ai2_arc", "ARC-Easy", "train"),
        draw: Draw::Sample,
        version: 1,
        form: Form::Documents(arc::documents),
    },
    Benchmark {
        name: "arc_challenge",
        summary: "science questions of school tests, those that retrieval and co-occurrence fail",
        kind: TaskKind::MultipleChoice,
        measures: &[Measure::Acc, Measure::AccNorm, Measure::Loss],
        primary_metric: "acc_norm",
        data: Part::rows(&["arc/ARC-Challenge-Test.jsonl"]).hub("allenai/ai2_arc", "ARC-Challenge", "test"),
        train: Part::rows(&["arc/ARC-Challenge-Train.jsonl"]).hub("allenai/ai2_arc", "ARC-Challenge", "train"),
        draw: Draw::Sample,
        version: 1,
        form: Form::Documents(arc::documents),
    },
    Benchmark {
        name: "winogrande",
        summary: "which of two names makes the rest of a sentence likelier",
        kind: TaskKind::MultipleChoice,
        measures: &[Measure::Acc, Measure::Loss],
        primary_metric: "acc",
        data: Part::rows(&["winogrande/dev.jsonl"]).labels(&["winogrande/dev-labels.lst"]).hub(
            "allenai/winogrande",
            "winogrande_xl",
            "validation",
        ),
        train: Part::rows(&[
            "winogrande/train_xl.jsonl",
            "winogrande/train_m.jsonl",
            "winogrande/train_s.jsonl",
            "winogrande/train_xs.jsonl",
        ])
        .hub("allenai/winogrande", "winogrande_xl", "train"),
        draw: Draw::SampleWithSpare,
        version: 1,
        form: Form::Documents(winogrande::documents),
    },
    Benchmark {
        name: "openbookqa",
        summary: "questions about facts of elementary science, four answers",
        kind: TaskKind::MultipleChoice,
        measures: &[Measure::Acc, Measure::AccNorm, Measure::Loss],
        primary_metric: "acc_norm",
        data: Part::rows(&["openbookqa/test.jsonl"]).hub("allenai/openbookqa", "main", "test"),
        train: Part::rows(&["openbookqa/train.jsonl"]).hub("allenai/openbookqa", "main", "train"),
        draw: Draw::Sample,
        version: 1,
        form: Form::Documents(openbookqa::documents),
    },
    Benchmark {
        name: "boolq",
        summary: "a passage and a question that is answered by no or yes",
        kind: TaskKind::MultipleChoice,
        measures: &[Measure::Acc, Measure::Loss],
        primary_metric: "acc",
        data: Part::rows(&["boolq/val.jsonl"]).hub("aps/super_glue", "boolq", "validation"),
        train: Part::rows(&["boolq/train.jsonl"]).hub("aps/super_glue", "boolq", "train"),
        draw: Draw::SampleWithSpare,
        version: 1,
        form: Form::Documents(boolq::documents),
    },
    Benchmark {
        name: "sciq",
        summary: "science questions behind a passage that supports the answer",
        kind: TaskKind::MultipleChoice,
        measures: &[Measure::Acc, Measure::AccNorm, Measure::Loss],
        primary_metric: "acc",
        data: Part::rows(&["sciq/test.jsonl"]).hub("allenai/sciq", "default", "test"),
        train: Part::rows(&["sciq/train.jsonl"]).hub("allenai/sciq", "default", "train"),
        draw: Draw::Sample,
        version: 1,
        form: Form::Documents(sciq::documents),
    },
    Benchmark {
        name: "mmlu",
        summary: "exam questions of 57 subjects, answered by a letter",
        kind: TaskKind::MultipleChoice,
        measures: &[Measure::Acc, Measure::Loss],
        primary_metric: "acc",
        data: Part::rows(&["mmlu/test.jsonl"]).hub("cais/mmlu", "all", "test"),
        train: Part::rows(&["mmlu/dev.jsonl"]).hub("cais/mmlu", "all", "dev"),
        draw: Draw::First,
        version: 1,
        form: Form::Documents(mmlu::documents),
    },
    Benchmark {
        name: "wikitext",
        summary: "WikiText-2 by page, in windows",
        kind: TaskKind::RunningText,
        measures: &[
            Measure::WordPerplexity,
            Measure::BytePerplexity,
            Measure::BitsPerByte,
            Measure::Perplexity,
            Measure::Loss,
        ],
        primary_metric: "word_perplexity",
        data: Part::rows(&["wikitext2/wiki.test.raw", "wikitext2/wikitext2_test.jsonl"]).hub(
            "EleutherAI/wikitext_document_level",
            "wikitext-2-raw-v1",
            "test",
        ),
        train: Part::NONE,
        draw: Draw::Sample,
        version: 1,
        form: Form::Documents(wikitext::documents),
    },
    Benchmark {
        name: "longdocs_ppl",
        summary: "running text of books, 1024 to 16384 tokens from the same place",
        kind: TaskKind::RunningText,
        measures: &[Measure::Perplexity, Measure::Loss],
        primary_metric: "perplexity",
        data: books::PART,
        train: Part::NONE,
        draw: Draw::Sample,
        version: 1,
        form: Form::Books(longdocs::places, longdocs::item),
    },
    Benchmark {
        name: "longdocs_passkey",
        summary: "a five-digit key hidden in a book, 1024 to 16384 tokens, five depths",
        kind: TaskKind::Target,
        measures: &[Measure::Acc, Measure::TokenAcc, Measure::TargetPerplexity, Measure::Loss],
        primary_metric: "acc",
        data: books::PART,
        train: Part::NONE,
        draw: Draw::Sample,
        version: 1,
        form: Form::Books(passkey::places, passkey::item),
    },
    Benchmark {
        name: "longdocs_needle",
        summary: "a made-up fact told in a book, four answers, 1024 to 16384 tokens, five depths",
        kind: TaskKind::MultipleChoice,
        measures: &[Measure::Acc, Measure::Loss],
        primary_metric: "acc",
        data: books::PART,
        train: Part::NONE,
        draw: Draw::Sample,
        version: 1,
        form: Form::Books(needle::places, needle::item),
    },
];

/// All benchmarks.
#[must_use]
pub fn benchmarks() -> &'static [Benchmark] {
    BENCHMARKS
}

impl Benchmark {
    /// The documents of a split, at most `limit` from the front, with solved examples before them where they were asked for.
    ///
    /// # Errors
    /// Files that are not there or damaged; a task whose items have no text of their own.
    pub(super) fn documents(
        &self,
        files: &mut Files<'_>,
        prompting: &Prompting,
        split: Split,
        limit: usize,
    ) -> Result<Vec<Document>, TaskError> {
        let documents = self.read(self.data, files)?;
        let mut ids = Ids::default();
        for document in &documents {
            ids.add(&document.id, &document.place.0, document.place.1)?;
        }
        let examples = if prompting.fewshot == 0 { Vec::new() } else { self.examples(files)? };
        let documents = with_examples(documents, &examples, self.name, self.draw, prompting)?;
        Ok(documents.into_iter().filter(|document| in_split(split, &document.id)).take(limit).collect())
    }

    /// Digest of everything that decides the items, once their files were read: their content, and how they are asked.
    pub(super) fn digest(&self, files: &Files<'_>, prompting: &Prompting) -> String {
        let mut parts = vec![format!("{} version {}", self.name, self.version)];
        if let Form::Documents(_) = self.form {
            parts.push(format!("max_length {}", prompting.max_length));
        }
        if prompting.fewshot > 0 {
            parts.push(format!("fewshot {} seed {}", prompting.fewshot, prompting.fewshot_seed));
        }
        parts.push(format!("data {}", files.digest()));
        blake3::hash(parts.join(" ").as_bytes()).to_hex()[..16].to_owned()
    }

    /// All documents of a part.
    pub(super) fn read(&self, part: Part, files: &mut Files<'_>) -> Result<Vec<Document>, TaskError> {
        let Form::Documents(read) = self.form else {
            return Err(TaskError::NoDocuments { name: self.name.to_owned() });
        };
        let file = files.rows(&part)?;
        let labels = files.labels(&part)?;
        let documents = read(&file, labels.as_ref())?;
        if documents.is_empty() {
            return Err(nothing_to_ask(file.name));
        }
        Ok(documents)
    }

    /// The solved examples.
    fn examples(&self, files: &mut Files<'_>) -> Result<Vec<Document>, TaskError> {
        self.read(self.train, files).map_err(|error| match error {
            TaskError::NoData { .. } => TaskError::NoExamples {
                task: self.name.to_owned(),
                files: self.train.files.iter().map(|name| (*name).to_owned()).collect(),
            },
            other => other,
        })
    }
}

fn nothing_to_ask(file: String) -> TaskError {
    TaskError::Row {
        file,
        line: 1,
        problem: "the file holds nothing to ask".to_owned(),
        hint: "copy it again from where its SOURCES.md says".to_owned(),
    }
}

/// The documents of a file of rows.
fn documents_of_rows(
    file: &DataFile,
    labels: Option<&DataFile>,
    document: impl Fn(&Row<'_>, Option<&str>) -> Result<Document, TaskError>,
) -> Result<Vec<Document>, TaskError> {
    let labels: Option<Vec<&str>> = labels.map(|labels| labels.text.trim_end().lines().map(str::trim).collect());
    let rows: Vec<Row<'_>> = rows(file).collect::<Result<_, _>>()?;
    if let (Some(labels), Some(last)) = (&labels, rows.last())
        && labels.len() != rows.len()
    {
        return Err(last.problem(
            &format!("there are {} rows and {} labels", rows.len(), labels.len()),
            "both files must be of one release; copy them again from where SOURCES.md says",
        ));
    }
    let label = |row: &Row<'_>| labels.as_ref().map(|labels| labels[row.index()]);
    rows.iter().map(|row| document(row, label(row))).collect()
}

/// The label of a row where the row and a file beside it may both hold one.
///
/// # Errors
/// They hold different ones: nothing says which of them is right.
fn agreed<T: PartialEq + fmt::Display>(
    row: &Row<'_>,
    own: Option<T>,
    beside: Option<T>,
) -> Result<Option<T>, TaskError> {
    match (own, beside) {
        (Some(own), Some(beside)) if own != beside => Err(row.problem(
            &format!("the row says that {own} is right, the file of labels says {beside}"),
            "both must be of one release; copy them again from where SOURCES.md says, or remove one of the two",
        )),
        (own, beside) => Ok(own.or(beside)),
    }
}

#[cfg(test)]
mod tests;
