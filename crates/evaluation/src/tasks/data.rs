//! Where the rows of the benchmarks come from: files of a folder, read in place, or data sets of a hub.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bzip2::read::MultiBzDecoder;

use super::TaskError;
use super::part::{HubSplit, Part};

/// Suffix of compressed files.
const COMPRESSED: &str = ".bz2";

/// Rows of a file at most. The largest benchmark, the training split of `WinoGrande`, has 40 398.
pub const MOST_ROWS: u64 = 500_000;
/// Bytes of a file at most, unpacked. The largest, the training split of `HellaSwag`, has 50 million.
pub const MOST_BYTES: u64 = 256 << 20;

/// Data sets of a hub.
pub trait Datasets: fmt::Debug + Send + Sync {
    /// All rows of a split that `task` asks for, in order: one JSON object a line.
    ///
    /// # Errors
    /// The split is not here and cannot be had, or cannot be read.
    fn rows(&self, task: &str, split: &HubSplit) -> Result<String, DatasetError>;
}

/// Why a data set could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetError {
    /// What went wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

/// Where the rows of the benchmarks come from.
#[derive(Clone, Debug, Default)]
pub enum Data {
    /// From nowhere: benchmarks are refused.
    #[default]
    None,
    /// Files below a folder.
    Folder(PathBuf),
    /// A hub, for those benchmarks that it has.
    Hub(Arc<dyn Datasets>),
}

impl Data {
    /// The folder, where one was named.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::None | Self::Hub(_) => None,
        }
    }

    /// The tokenizer of GPT-NeoX, with which the state-spaces models were trained and which their repositories do not hold; none
    /// where no folder was named.
    #[must_use]
    pub fn neox_tokenizer(&self) -> Option<PathBuf> {
        self.folder().map(|folder| folder.join("neox-tokenizer/20B_tokenizer.json"))
    }
}

/// A file as text.
pub(super) struct DataFile {
    /// Path below the data directory, or repository, configuration and split on the hub, as it stands in messages.
    pub(super) name: String,
    pub(super) text: String,
}

/// The files of one benchmark, and a digest of all that were read.
pub(super) struct Files<'a> {
    data: &'a Data,
    task: &'static str,
    hasher: blake3::Hasher,
}

impl<'a> Files<'a> {
    pub(super) fn new(data: &'a Data, task: &'static str) -> Self {
        Self { data, task, hasher: blake3::Hasher::new() }
    }

    /// The rows of a part.
    ///
    /// # Errors
    /// None are there, or they cannot be read.
    pub(super) fn rows(&mut self, part: &Part) -> Result<DataFile, TaskError> {
        match (self.data, &part.hub) {
            (Data::Folder(folder), _) => self.find(folder, part.files)?.ok_or_else(|| TaskError::NoData {
                task: self.task,
                folder: folder.display().to_string(),
                looked: part.files.iter().map(|name| (*name).to_owned()).collect(),
                hub: part.hub.as_ref().map(|split| split.repository),
            }),
            (Data::Hub(hub), Some(split)) => {
                let text = hub.rows(self.task, split).map_err(|error| TaskError::Dataset { task: self.task, error })?;
                self.hasher.update(text.as_bytes());
                Ok(DataFile { name: split.to_string(), text })
            }
            (Data::None, _) | (Data::Hub(_), None) => Err(TaskError::NoDataDir { task: self.task }),
        }
    }

    /// The right answers of a part, where a file of their own holds them. Rows of a hub hold theirs.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn labels(&mut self, part: &Part) -> Result<Option<DataFile>, TaskError> {
        match self.data.folder() {
            Some(folder) => self.find(folder, part.labels),
            None => Ok(None),
        }
    }

    /// The first of some files that is there, plain or compressed with bzip2.
    fn find(&mut self, folder: &Path, candidates: &[&str]) -> Result<Option<DataFile>, TaskError> {
        for name in candidates {
            for name in [(*name).to_owned(), format!("{name}{COMPRESSED}")] {
                if let Some(text) = read(&folder.join(&name))? {
                    self.hasher.update(text.as_bytes());
                    return Ok(Some(DataFile { name, text }));
                }
            }
        }
        Ok(None)
    }

    /// Digest of the content of everything that was read, in the order of reading; compressed or not makes no difference.
    pub(super) fn digest(&self) -> String {
        self.hasher.finalize().to_hex()[..16].to_owned()
    }
}

/// The text of a file, where there is one: unpacked, without a byte-order mark, and with lines that end as Unix ends them, so that
/// neither makes other data of it.
pub(super) fn read(path: &Path) -> Result<Option<String>, TaskError> {
    let shown = || path.display().to_string();
    let unreadable = |error: io::Error| TaskError::Unreadable { path: shown(), error: error.to_string() };
    // Looked at before it is opened: opening a pipe waits for somebody to write.
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
        Ok(found) if !found.is_file() => return Err(TaskError::NotAFile { path: shown() }),
        Ok(_) => {}
    }
    let file = File::open(path).map_err(unreadable)?;
    let bytes = if path.to_string_lossy().ends_with(COMPRESSED) {
        read_bounded(MultiBzDecoder::new(file))
    } else {
        read_bounded(file)
    };
    let bytes = bytes.map_err(unreadable)?.map_err(|limit| TaskError::TooLarge { path: shown(), limit })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = line_ends(&error.as_bytes()[..at]) + 1;
        TaskError::Unreadable { path: shown(), error: format!("line {line} is no UTF-8 text") }
    })?;
    Ok(Some(plain(text)))
}

/// Everything that `input` has, or the limit that it goes beyond: a small file can unpack to more than there is memory.
fn read_bounded(mut input: impl Read) -> io::Result<Result<Vec<u8>, String>> {
    let mut bytes = Vec::new();
    let mut rows = 0;
    let mut piece = vec![0; 1 << 16];
    loop {
        let n = match input.read(&mut piece) {
            Ok(0) => return Ok(Ok(bytes)),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        rows += line_ends(&piece[..n]) as u64;
        if rows > MOST_ROWS {
            return Ok(Err(format!("{MOST_ROWS} rows")));
        }
        if (bytes.len() + n) as u64 > MOST_BYTES {
            return Ok(Err(format!("{MOST_BYTES} bytes")));
        }
        bytes.extend_from_slice(&piece[..n]);
    }
}

#[expect(clippy::naive_bytecount, reason = "parsing the lines takes a hundred times as long")]
fn line_ends(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn plain(text: String) -> String {
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    if text.contains('\r') { text.replace("\r\n", "\n") } else { text }
}
