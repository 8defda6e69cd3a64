//! The results folder: everything is written aside and renamed, so that a file is whole or absent.
//!
//! ```text
//! results/<experiment>/experiment.yaml   the experiment as it was run, defaults and overrides included
//!                      plan.json         what was asked, with the order of all cells
//!                      manifest.json     where and with what it ran
//!                      guards.json       outcome of the guards
//!                      cells/<id>.json   one record per finished cell
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use serde::Serialize;
use thiserror::Error;

use super::guards::GuardRow;
use super::manifest::Manifest;
use super::schema::{CellRecord, SCHEMA_VERSION, Status};
use crate::config::Experiment;
use crate::plan::Plan;

/// Why the results folder could not be used.
#[derive(Debug, Error, Diagnostic)]
pub enum StoreError {
    /// A file or folder that cannot be read or written.
    #[error("cannot {action} {path}: {error}")]
    #[diagnostic(help("finished cells are safe; free space or fix permissions and run the same command again"))]
    Io {
        /// `read`, `write` or `create`.
        action: &'static str,
        /// What.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A file of ours that is not what we wrote.
    #[error("{path} is damaged: {error}")]
    #[diagnostic(help("remove the file and run again"))]
    Damaged {
        /// What.
        path: String,
        /// Why.
        error: serde_json::Error,
    },
    /// Another experiment's results.
    #[error("{path} holds results of experiment `{found}`, not of `{expected}`")]
    #[diagnostic(help("choose another folder with --out, or move the old results away"))]
    OtherExperiment {
        /// The folder.
        path: String,
        /// Whose results are there.
        found: String,
        /// Whose were to be written.
        expected: String,
    },
}

/// A results folder.
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens or creates the folder of an experiment.
    ///
    /// # Errors
    /// The folder belongs to another experiment (nothing is written then), or cannot be created.
    pub fn open(folder: &Path, experiment: &str) -> Result<Self, StoreError> {
        let found = read_if_there(&folder.join("plan.json"))?.and_then(|text| {
            let value: serde_json::Value = serde_json::from_str(&text).ok()?;
            Some(value.get("experiment")?.as_str()?.to_owned())
        });
        if let Some(found) = found.filter(|found| found != experiment) {
            let (path, expected) = (folder.display().to_string(), experiment.to_owned());
            return Err(StoreError::OtherExperiment { path, found, expected });
        }
        let cells = folder.join("cells");
        fs::create_dir_all(&cells).map_err(|error| io("create", &cells, error))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Keeps the resolved experiment and the plan beside the results.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_plan(&self, experiment: &Experiment, plan: &Plan) -> Result<(), StoreError> {
        write(&self.folder.join("experiment.yaml"), experiment.to_yaml().as_bytes())?;
        self.write_json("plan.json", &plan.index())
    }

    /// Writes where and with what the run happens.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        self.write_json("manifest.json", manifest)
    }

    /// Whether a cell has a record of this schema that did not fail. Failed cells run again.
    pub fn is_done(&self, cell_id: &str) -> bool {
        let text = fs::read_to_string(self.cell_path(cell_id)).ok();
        let record = text.and_then(|text| serde_json::from_str::<CellRecord>(&text).ok());
        record.is_some_and(|record| record.status == Status::Done && record.schema_version == SCHEMA_VERSION)
    }

    /// Records a finished cell.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_cell(&self, record: &CellRecord) -> Result<(), StoreError> {
        let path = self.cell_path(&record.cell_id);
        let text = serde_json::to_vec(record).map_err(|error| damaged(&path, error))?;
        write(&path, &text)
    }

    /// Guards that ran before; none where there is no file.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub fn read_guards(&self) -> Result<Vec<GuardRow>, StoreError> {
        let path = self.folder.join("guards.json");
        match read_if_there(&path)? {
            Some(text) => serde_json::from_str(&text).map_err(|error| damaged(&path, error)),
            None => Ok(Vec::new()),
        }
    }

    /// Records the guards.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_guards(&self, rows: &[GuardRow]) -> Result<(), StoreError> {
        self.write_json("guards.json", rows)
    }

    fn cell_path(&self, cell_id: &str) -> PathBuf {
        self.folder.join("cells").join(format!("{cell_id}.json"))
    }

    fn write_json<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let path = self.folder.join(name);
        let mut text = serde_json::to_vec_pretty(value).map_err(|error| damaged(&path, error))?;
        text.push(b'\n');
        write(&path, &text)
    }
}

fn io(action: &'static str, path: &Path, error: std::io::Error) -> StoreError {
    StoreError::Io { action, path: path.display().to_string(), error }
}

fn damaged(path: &Path, error: serde_json::Error) -> StoreError {
    StoreError::Damaged { path: path.display().to_string(), error }
}

fn read_if_there(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io("read", path, error)),
    }
}

/// Writes aside, then renames: a reader sees the whole file or none. The disk is not waited for: a record that a power
/// cut damages is no finished cell, and runs again.
fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let aside = path.with_extension(format!("tmp{}", std::process::id()));
    let written = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&aside);
        io("write", path, error)
    })
}
