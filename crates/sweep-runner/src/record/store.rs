//! The results folder: everything is written aside and renamed, so that a file is whole or absent.
//!
//! ```text
//! results/<experiment>/.sweep-results       says that the folder is one of ours
//!                      experiment.yaml      the experiment as it was run, defaults and overrides included
//!                      plan.json            what was asked: all cells in order, and the digests of what they depend on
//!                      groups.json          how many groups of items the cells of each family have
//!                      guards.json          outcome of the guards
//!                      cells/<id>.json      one record per finished cell
//!                      parts/<group>.json   finished groups of cells that are not whole yet
//!                      leases/<group>.json  who is running what
//!                      manifests/<run>.json where and with what each process ran
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::files::{self, Durability};
use super::guards::GuardRow;
use super::identity::{self, Change, Digests};
use super::lease::Leases;
use super::manifest::Manifest;
use super::marker;
use super::parts::Parts;
use super::regular;
use super::schema::{CellRecord, SCHEMA_VERSION, Status};
use crate::config::Experiment;
use crate::plan::Plan;

/// Why the results folder could not be used.
#[derive(Debug, Error, Diagnostic)]
pub enum StoreError {
    /// A file or folder that cannot be read or written.
    #[error("cannot {action} {path}: {error}")]
    #[diagnostic(help("finished groups are safe; fix permissions or the disk and run the same command again"))]
    Io {
        /// `read`, `write` or `create`.
        action: &'static str,
        /// What.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// No room for a file.
    #[error("no room for {path}: {error}")]
    #[diagnostic(help(
        "free space (or raise the quota or `ulimit -f`) and run the same command again: it goes on where this run stopped"
    ))]
    Full {
        /// The file.
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
    /// A folder of somebody else.
    #[error("{path} is no results folder and holds other files: {names}")]
    #[diagnostic(help(
        "choose a new or empty folder with --out; with --force this one is used, and what is in the way of results gets the ending .before-sweep"
    ))]
    Foreign {
        /// The folder.
        path: String,
        /// What is in it.
        names: String,
    },
    /// Something else than a folder.
    #[error("{path} is {kind}, not a folder")]
    #[diagnostic(help("choose a new or empty folder with --out"))]
    NoFolder {
        /// What was named.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A folder that cannot be made or looked into.
    #[error("cannot use {path} as results folder: {error}")]
    #[diagnostic(help("choose another folder with --out, or fix its permissions"))]
    Unusable {
        /// The folder.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// Weights, a tokenizer or data that are not what they were when the results were made.
    #[error("{path} was made with something else:\n{}", list(changes))]
    #[diagnostic(help(
        "choose another folder with --out, or put the old files back; with --accept-changes cells are run anew with what is \
         there now, and the old ones stay on disk but leave the frames"
    ))]
    Changed {
        /// The folder.
        path: String,
        /// What differs.
        changes: Vec<Change>,
    },
}

fn list(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("  {change}")).collect::<Vec<_>>().join("\n")
}

impl StoreError {
    /// Whether the folder was refused before anything was written.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::OtherExperiment { .. }
                | Self::Changed { .. }
                | Self::Foreign { .. }
                | Self::NoFolder { .. }
                | Self::Unusable { .. }
        )
    }
}

/// What of `plan.json` a later run compares itself with.
#[derive(Deserialize)]
struct Earlier {
    experiment: String,
    #[serde(default)]
    digests: Digests,
}

/// What of a record says how the cell ended.
#[derive(Deserialize)]
struct Ending {
    schema_version: u32,
    status: Status,
}

/// A results folder.
pub struct Store {
    folder: PathBuf,
    parts: Parts,
    leases: Leases,
}

impl Store {
    /// Opens or creates the folder of an experiment, and removes what dead processes left half written. A folder that holds files of
    /// somebody else is taken with `force` only.
    ///
    /// # Errors
    /// The folder belongs to somebody else or to another experiment, or was made with other weights or data than `plan` names and `accept_changes`
    /// is not given (nothing is written then); or it cannot be created.
    pub fn open(folder: &Path, plan: &Plan, accept_changes: bool, force: bool) -> Result<Self, StoreError> {
        // A plan that is somebody else's says nothing of ours.
        let ours = marker::look(folder)? == marker::Holds::Results;
        let earlier = if ours { read_if_there(&folder.join("plan.json"))? } else { None };
        if let Some(earlier) = earlier.and_then(|text| serde_json::from_str::<Earlier>(&text).ok()) {
            let path = folder.display().to_string();
            if earlier.experiment != plan.experiment {
                let (found, expected) = (earlier.experiment, plan.experiment.clone());
                return Err(StoreError::OtherExperiment { path, found, expected });
            }
            let changes = identity::changes(&earlier.digests, &plan.digests());
            if !changes.is_empty() && !accept_changes {
                return Err(StoreError::Changed { path, changes });
            }
        }
        marker::claim(folder, force)?;
        for name in ["", "cells", "parts", "leases", "manifests", "tables", "figures"] {
            let path = folder.join(name);
            if !matches!(name, "tables" | "figures") {
                fs::create_dir_all(&path).map_err(|error| io("create", &path, error))?;
            }
            files::clean(&path).map_err(|error| io("clean", &path, error))?;
        }
        let store = Self::at(folder);
        store.leases.clean().map_err(|error| io("clean", store.leases.folder(), error))?;
        Ok(store)
    }

    /// A folder that is there, for looking at it.
    pub fn at(folder: &Path) -> Self {
        let (parts, leases) = (Parts::open(&folder.join("parts")), Leases::open(&folder.join("leases")));
        Self { folder: folder.to_owned(), parts, leases }
    }

    /// Outcomes of groups.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Who runs what.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Keeps the resolved experiment and the plan beside the results.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_plan(&self, experiment: &Experiment, plan: &Plan) -> Result<(), StoreError> {
        let path = self.folder.join("experiment.yaml");
        let text = experiment.to_yaml();
        files::write(&path, text.as_bytes(), Durability::Synced).map_err(|error| io("write", &path, error))?;
        self.write_json("plan.json", &plan.index(), Durability::Synced)
    }

    /// Keeps the number of groups of each family.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_groups(&self, groups: &BTreeMap<String, usize>) -> Result<(), StoreError> {
        self.write_json("groups.json", groups, Durability::Plain)
    }

    /// Writes where and with what a process runs, under a name of its own. It is made again after every group.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        self.write_json(&format!("manifests/{}.json", manifest.name()), manifest, Durability::Plain)
    }

    /// How a cell ended; none where it has no record. A record that is not whole is removed: its cell runs again.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn ending(&self, cell_id: &str) -> Result<Option<Status>, StoreError> {
        let ending = self.look(cell_id)?;
        if ending.is_none() && self.cell_path(cell_id).exists() {
            tracing::warn!(cell_id, "a damaged record is removed; its cell runs again");
            self.remove_cell(cell_id);
        }
        Ok(ending)
    }

    /// How a cell ended; none where it has no whole record.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn look(&self, cell_id: &str) -> Result<Option<Status>, StoreError> {
        let Some(text) = read_if_there(&self.cell_path(cell_id))? else { return Ok(None) };
        let whole = serde_json::from_str::<Ending>(&text).ok().filter(|ending| ending.schema_version == SCHEMA_VERSION);
        Ok(whole.map(|ending| ending.status))
    }

    /// Why a cell failed; none where it did not, or has no record.
    pub fn error_of(&self, cell_id: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Failure {
            error: Option<String>,
        }
        let text = regular::read_text(&self.cell_path(cell_id), regular::MAX_BYTES).ok()?;
        serde_json::from_str::<Failure>(&text).ok()?.error
    }

    /// Ids of all cells that have a record.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn recorded(&self) -> Result<BTreeSet<String>, StoreError> {
        let folder = self.folder.join("cells");
        let mut ids = BTreeSet::new();
        for entry in fs::read_dir(&folder).map_err(|error| io("read", &folder, error))? {
            let name = entry.map_err(|error| io("read", &folder, error))?.file_name();
            ids.extend(name.to_str().and_then(|name| name.strip_suffix(".json")).map(str::to_owned));
        }
        Ok(ids)
    }

    /// Records finished cells. They last from here on.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_cells(&self, records: &[CellRecord]) -> Result<(), StoreError> {
        for record in records {
            let path = self.cell_path(&record.cell_id);
            let text = serde_json::to_vec(record).map_err(|error| damaged(&path, error))?;
            files::write(&path, &text, Durability::Unordered).map_err(|error| io("write", &path, error))?;
        }
        let folder = self.folder.join("cells");
        files::sync_folder(&folder).map_err(|error| io("write", &folder, error))
    }

    /// Removes the record of a cell, so that it runs again.
    pub fn remove_cell(&self, cell_id: &str) {
        let _ = fs::remove_file(self.cell_path(cell_id));
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
        self.write_json("guards.json", rows, Durability::Synced)
    }

    fn cell_path(&self, cell_id: &str) -> PathBuf {
        self.folder.join("cells").join(format!("{cell_id}.json"))
    }

    fn write_json<T: Serialize + ?Sized>(
        &self,
        name: &str,
        value: &T,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let path = self.folder.join(name);
        let mut text = serde_json::to_vec_pretty(value).map_err(|error| damaged(&path, error))?;
        text.push(b'\n');
        files::write(&path, &text, durability).map_err(|error| io("write", &path, error))
    }
}

pub(crate) fn io(action: &'static str, path: &Path, error: std::io::Error) -> StoreError {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let path = path.display().to_string();
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => StoreError::Full { path, error },
        _ => StoreError::Io { action, path, error },
    }
}

pub(super) fn damaged(path: &Path, error: serde_json::Error) -> StoreError {
    StoreError::Damaged { path: path.display().to_string(), error }
}

fn read_if_there(path: &Path) -> Result<Option<String>, StoreError> {
    match regular::read_text(path, regular::MAX_BYTES) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        // A file with bytes that are no text is damaged, and treated as such by who asked.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(Some(String::new())),
        Err(error) => Err(io("read", path, error)),
    }
}
