//! Parquet files as lines of JSON, the form in which benchmarks read their rows. The one place that reads such files; they come from
//! elsewhere, and none may end the program or ask for more memory than is given. Tests: `tests/command/datasets/`.

mod inspect;
mod thrift;

use std::any::Any;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use hint::Hint;
use polars::prelude::*;
use serde_json::{Map, Value};
use thiserror::Error;

use inspect::{Refused, inspect};

/// What a file may ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Rows.
    rows: u64,
    /// Values in all columns, entries of dictionaries and absent ones among them.
    values: u64,
    /// Bytes of the file, of its pages once unpacked, and of the text that is made of it.
    bytes: u64,
}

/// The largest file of the benchmarks has 40 000 rows and 50 MB once unpacked.
const LIMITS: Limits =
    Limits { rows: evaluation::tasks::MOST_ROWS, values: 4_000_000, bytes: evaluation::tasks::MOST_BYTES };

/// Stack of the thread that reads: schemas are read by recursion.
const STACK: usize = 64 << 20;

/// How long a file may take: a hundred times what the largest benchmark needs. Rows that all mean one long text of a dictionary can ask for
/// more work than can be told from their number.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why a file was not read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ParquetError {
    /// It cannot be opened or read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A pipe, a device or a folder.
    #[error("{} is no regular file", .0.display())]
    NotAFile(PathBuf),
    /// It contradicts itself.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It asks for more than a benchmark has.
    #[error("{} has more than {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it has too much of, with the limit.
        limit: String,
    },
    /// It is made in a way, or holds values of a kind, that is not read.
    #[error("{}: {problem}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What is not read.
        problem: String,
    },
}

impl Hint for ParquetError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { .. } | Self::NotAFile(_) | Self::Damaged { .. } => {
                "delete the file and fetch it again".to_owned()
            }
            Self::TooLarge { .. } => {
                "no benchmark has as much: delete the file and fetch it again, or look at what the data set has become".to_owned()
            }
            Self::Unknown { .. } => {
                "the hub's own copies have none of this: delete the file and fetch it again, or put its rows as JSON lines into a \
                 folder and name that with --data-dir"
                    .to_owned()
            }
        })
    }
}

/// All rows of a file, in order, as one JSON object a line: texts, whole numbers, truth values, lists and structs of them, nulls.
///
/// # Errors
/// The file cannot be read, is damaged, asks for too much, or holds values of another kind.
pub fn json_lines(path: &Path) -> Result<String, ParquetError> {
    let bytes = read(path)?;
    json_lines_of(bytes, &LIMITS).map_err(|refused| {
        let path = path.to_owned();
        match refused {
            Refused::Damaged(problem) => ParquetError::Damaged { path, problem },
            Refused::Large(limit) => ParquetError::TooLarge { path, limit },
            Refused::Unknown(problem) => ParquetError::Unknown { path, problem },
        }
    })
}

fn read(path: &Path) -> Result<Vec<u8>, ParquetError> {
    let unreadable = |error| ParquetError::Unreadable { path: path.to_owned(), error };
    // Looked at before it is opened: opening a pipe waits for somebody to write.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(ParquetError::NotAFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(LIMITS.bytes + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > LIMITS.bytes {
        return Err(ParquetError::TooLarge { path: path.to_owned(), limit: format!("{} bytes", LIMITS.bytes) });
    }
    Ok(bytes)
}

fn json_lines_of(bytes: Vec<u8>, limits: &Limits) -> Result<String, Refused> {
    inspect(&bytes, limits)?;
    let limits = *limits;
    walled(PATIENCE, move || {
        // In this thread alone, so that its wall stands around everything.
        let reader = ParquetReader::new(Cursor::new(bytes)).read_parallel(ParallelStrategy::None);
        let frame = reader.finish().map_err(|error| Refused::Damaged(error.to_string()))?;
        let mut budget = Budget { left: limits.bytes, limits };
        let mut lines = String::new();
        for row in 0..frame.height() {
            let mut object = Map::new();
            for column in frame.columns() {
                let value = column.get(row).map_err(|error| Refused::Damaged(error.to_string()))?;
                object.insert(column.name().to_string(), budget.json(&value)?);
            }
            lines += &Value::Object(object).to_string();
            lines.push('\n');
        }
        Ok(lines)
    })
}

thread_local! {
    /// Whether what panics in this thread is told as an error.
    static TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Runs the reader where a panic of it becomes an error and nothing else, and so does work without end.
fn walled<R: Send + 'static>(
    patience: Duration,
    reader: impl FnOnce() -> Result<R, Refused> + Send + 'static,
) -> Result<R, Refused> {
    static SILENCED: Once = Once::new();
    SILENCED.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !TOLD.get() {
                usual(info);
            }
        }));
    });
    let (sender, result) = mpsc::channel();
    let reading = thread::Builder::new().stack_size(STACK).spawn(move || {
        TOLD.set(true);
        // Nobody waits any more where this fails.
        let _ = sender.send(reader());
    });
    let reading = reading.map_err(|error| Refused::Damaged(format!("no thread to read it: {error}")))?;
    match result.recv_timeout(patience) {
        Ok(result) => result,
        // What still runs ends with the program, which has nothing to do without the rows.
        Err(RecvTimeoutError::Timeout) => {
            Err(Refused::Unknown(format!("unpacking it takes more than {} s", patience.as_secs())))
        }
        Err(RecvTimeoutError::Disconnected) => {
            let panic = reading.join().err();
            let said = panic.as_deref().map_or("without a word", said);
            Err(Refused::Damaged(format!("the reader gave up: {said}")))
        }
    }
}

/// The text of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a word")
}

/// Bytes of text that may still be made: a dictionary says a long text once and means it often.
struct Budget {
    left: u64,
    limits: Limits,
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Result<(), Refused> {
        // Beside the text, its quotes, a name or a comma.
        let left = self.left.checked_sub(bytes as u64 + 2);
        self.left = left.ok_or_else(|| Refused::Large(format!("{} bytes of text", self.limits.bytes)))?;
        Ok(())
    }

    fn json(&mut self, value: &AnyValue<'_>) -> Result<Value, Refused> {
        self.spend(0)?;
        Ok(match value {
            AnyValue::Null => Value::Null,
            AnyValue::Boolean(value) => Value::Bool(*value),
            AnyValue::List(series) => {
                Value::Array(series.iter().map(|value| self.json(&value)).collect::<Result<_, _>>()?)
            }
            AnyValue::Struct(_, _, fields) => self.object(fields, value._iter_struct_av())?,
            // That of a frame with one row.
            AnyValue::StructOwned(owned) => self.object(&owned.1, owned.0.iter().cloned())?,
            _ => match (value.get_str(), value.extract::<i64>()) {
                (Some(text), _) => {
                    self.spend(text.len())?;
                    Value::String(text.to_owned())
                }
                (None, Some(number)) if value.dtype().is_integer() => Value::from(number),
                _ => return Err(Refused::Unknown(format!("values of type {} are not read", value.dtype()))),
            },
        })
    }

    fn object<'a>(&mut self, fields: &[Field], values: impl Iterator<Item = AnyValue<'a>>) -> Result<Value, Refused> {
        let named = fields.iter().zip(values).map(|(field, value)| Ok((field.name().to_string(), self.json(&value)?)));
        Ok(Value::Object(named.collect::<Result<_, Refused>>()?))
    }
}

#[cfg(test)]
mod tests;
