//! Where the rows of the benchmarks come from: files of a folder, read in place, or data sets of a hub.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bzip2::read::MultiBzDecoder;

use super::TaskError;
use super::benchmarks::{HubSplit, Part};

/// Suffix of compressed files.
const COMPRESSED: &str = ".bz2";

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
    /// What to do.
    pub hint: String,
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
                match read(&folder.join(&name)) {
                    Ok(text) => {
                        self.hasher.update(text.as_bytes());
                        return Ok(Some(DataFile { name, text }));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        let path = folder.join(&name).display().to_string();
                        return Err(TaskError::Unreadable { path, error: error.to_string() });
                    }
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

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?;
    if path.to_string_lossy().ends_with(COMPRESSED) {
        MultiBzDecoder::new(file).read_to_string(&mut text)?;
    } else {
        file.read_to_string(&mut text)?;
    }
    Ok(text)
}
