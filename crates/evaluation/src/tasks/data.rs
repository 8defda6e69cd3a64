//! The files of the benchmarks, read in place.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bzip2::read::MultiBzDecoder;

use super::TaskError;

/// Suffix of compressed files.
const COMPRESSED: &str = ".bz2";

/// The folder that holds the files of the benchmarks, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataDir(Option<PathBuf>);

impl DataDir {
    /// The data in `folder`.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(Some(folder.into()))
    }

    /// Whether a folder was named.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The tokenizer of GPT-NeoX, with which the state-spaces models were trained and which their repositories do not hold; none
    /// where no folder was named.
    #[must_use]
    pub fn neox_tokenizer(&self) -> Option<PathBuf> {
        self.0.as_ref().map(|folder| folder.join("neox-tokenizer/20B_tokenizer.json"))
    }

    /// The folder, where one was named.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }
}

/// A file as text.
pub(super) struct DataFile {
    /// Path below the data directory, as it stands in messages.
    pub(super) name: String,
    pub(super) text: String,
}

/// The files of one benchmark, and a digest of all that were read.
pub(super) struct Files<'a> {
    data: &'a DataDir,
    task: &'static str,
    hasher: blake3::Hasher,
}

impl<'a> Files<'a> {
    pub(super) fn new(data: &'a DataDir, task: &'static str) -> Self {
        Self { data, task, hasher: blake3::Hasher::new() }
    }

    /// The first of some files that is there, plain or compressed with bzip2.
    ///
    /// # Errors
    /// No data directory, none of the files in it, or one that cannot be read.
    pub(super) fn read(&mut self, candidates: &[&str]) -> Result<DataFile, TaskError> {
        self.find(candidates)?.ok_or_else(|| TaskError::NoData {
            task: self.task,
            folder: self.data.path().unwrap_or(Path::new("")).display().to_string(),
            looked: candidates.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    /// As [`Files::read`]; none where none of the files is there.
    pub(super) fn find(&mut self, candidates: &[&str]) -> Result<Option<DataFile>, TaskError> {
        let folder = self.data.path().ok_or(TaskError::NoDataDir { task: self.task })?;
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
