//! The results folder: everything is written aside and renamed, so that a file is whole or absent.
//!
//! ```text
//! results/<experiment>/.sweep-results       says that the folder is one of ours
//!                      experiment.yaml      the experiment as it was run, defaults and overrides included
//!                      plan.json            what was asked: all cells in order, and the digests of what they depend on
//!                      groups.json          how many groups of items each cohort of cells has
//!                      guards.json          outcome of the guards
//!                      task-items/<cohort>.json  what the items of a task say, once per model and task
//!                      cells/<id>.json      one record per finished cell
//!                      calibrations/<id>.json  thresholds that were found before a run
//!                      parts/<group>.json   finished groups of cells that are not whole yet
//!                      leases/<group>.json  who is running what
//!                      manifests/<run>.json where and with what each process ran
//!                      damaged/, other-code/  what could not be used, moved out of the way
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use records::check;
use records::files::{self, Durability};
use records::guards::GuardRow;
use records::identity::{self, Change};
use records::plan::{Cohort, PlanIndex};
use records::schema::CellRecord;
use records::task_items::{self, TaskItems};
use serde::Serialize;
use thiserror::Error;

use super::aside::{self, Aside};
use super::lease::{Found, Leases};
use super::manifest::Manifest;
use super::marker;
use super::parts::Parts;
use super::status;
use crate::config::Experiment;
use crate::plan::ExperimentPlan;

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
    #[diagnostic(help("`sweep run` on the experiment moves the file into damaged/ and makes its content again"))]
    Damaged {
        /// What.
        path: String,
        /// Why.
        error: String,
    },
    /// A process of another build works on the folder.
    #[error("{who} works on {path}, and is another build of this program: {work}")]
    #[diagnostic(help("wait until it has ended or stop it, or choose another folder with --out"))]
    OtherBuild {
        /// The folder.
        path: String,
        /// The process.
        who: String,
        /// What it runs.
        work: String,
    },
    /// A process of another build wrote into the folder while this one ran.
    #[error("{path} was made {how} while this process ran: two builds of this program work on one folder")]
    #[diagnostic(help(
        "stop one of them, and run the same command again; --keep-other-code takes the results of both"
    ))]
    MixedBuilds {
        /// Its file.
        path: String,
        /// How its code differs.
        how: &'static str,
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
         there now, and the old ones stay on disk but are not in the frames"
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
                | Self::OtherBuild { .. }
                | Self::Foreign { .. }
                | Self::NoFolder { .. }
                | Self::Unusable { .. }
        )
    }
}

/// What a user allows a run to do with a folder that holds something already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// Go on in a folder that was made with other weights or data.
    pub accept_changes: bool,
    /// Take results that other code made as they are; they are moved away and made again otherwise.
    pub keep_other_code: bool,
    /// Use a folder that holds files of somebody else.
    pub force: bool,
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
    /// The folder belongs to somebody else or to another experiment, or was made with other weights or data than `plan` names, or a
    /// process of another build works on it, and `consent` does not allow it (nothing is written then); or it cannot be created.
    pub fn open(folder: &Path, plan: &ExperimentPlan, consent: Consent) -> Result<Self, StoreError> {
        let Consent { accept_changes, keep_other_code, force } = consent;
        // A plan that is somebody else's says nothing of ours.
        let ours = marker::look(folder)? == marker::Holds::Results;
        let earlier = if ours { aside::read_if_there(&folder.join("plan.json"))? } else { None };
        let earlier = earlier.map(|text| serde_json::from_slice::<PlanIndex>(&text));
        if let Some(Ok(earlier)) = &earlier {
            let path = folder.display().to_string();
            if earlier.experiment != plan.experiment {
                let (found, expected) = (earlier.experiment.clone(), plan.experiment.clone());
                return Err(StoreError::OtherExperiment { path, found, expected });
            }
            let changes = identity::changes(&earlier.digests, &plan.digests());
            if !changes.is_empty() && !accept_changes {
                return Err(StoreError::Changed { path, changes });
            }
        }
        let other = if keep_other_code || !ours { None } else { Self::at(folder).other_build()? };
        if let Some(other) = other {
            let (path, who) = (folder.display().to_string(), other.who());
            return Err(StoreError::OtherBuild {
                path,
                who,
                work: other.record.map(|lease| lease.work).unwrap_or_default(),
            });
        }
        marker::claim(folder, force)?;
        for name in ["", "cells", "parts", "leases", "manifests", task_items::FOLDER, "tables", "figures"] {
            let path = folder.join(name);
            if !matches!(name, "tables" | "figures") {
                fs::create_dir_all(&path).map_err(|error| io("create", &path, error))?;
            }
            files::clean(&path).map_err(|error| io("clean", &path, error))?;
        }
        let store = Self::at(folder);
        store.leases.clean().map_err(|error| io("clean", store.leases.folder(), error))?;
        if let Some(Err(error)) = earlier {
            let why = format!("{error}; whether the folder was made with other weights or data is not known");
            aside::move_away(folder, &folder.join("plan.json"), Aside::Damaged, &why)?;
        }
        status::move_damaged(folder)?;
        Ok(store)
    }

    fn other_build(&self) -> Result<Option<Found>, StoreError> {
        match self.leases.other_build() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            found => found.map_err(|error| io("read", self.leases.folder(), error)),
        }
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
    pub fn write_plan(&self, experiment: &Experiment, plan: &ExperimentPlan) -> Result<(), StoreError> {
        let path = self.folder.join("experiment.yaml");
        let text = experiment.to_yaml();
        files::write(&path, text.as_bytes(), Durability::Synced).map_err(|error| io("write", &path, error))?;
        self.write_json("plan.json", &plan.index(), Durability::Synced)
    }

    /// Keeps the number of groups of each cohort.
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

    /// The record of a cell, or why what is there is none; nothing where there is nothing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn look(&self, cell_id: &str) -> Result<Option<Result<CellRecord, String>>, StoreError> {
        let Some(text) = aside::read_if_there(&self.cell_path(cell_id))? else { return Ok(None) };
        let record = serde_json::from_slice::<CellRecord>(&text).map_err(|error| error.to_string());
        Ok(Some(record.and_then(|record| check::cell(&record, cell_id).map(|()| record))))
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

    /// Guards that ran before; none where there is no file, and an error in words where it is damaged.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub fn look_at_guards(&self) -> Result<Result<Vec<GuardRow>, String>, StoreError> {
        let Some(text) = aside::read_if_there(&self.folder.join("guards.json"))? else { return Ok(Ok(Vec::new())) };
        let rows = serde_json::from_slice::<Vec<GuardRow>>(&text).map_err(|error| error.to_string());
        Ok(rows.and_then(|rows| rows.iter().try_for_each(check::guard).map(|()| rows)))
    }

    /// The same for who may write the file: a damaged one is moved away, and its guards run again.
    ///
    /// # Errors
    /// The file can neither be read nor moved.
    pub fn read_guards(&self) -> Result<Vec<GuardRow>, StoreError> {
        match self.look_at_guards()? {
            Ok(rows) => Ok(rows),
            Err(why) => {
                aside::move_away(&self.folder, &self.folder.join("guards.json"), Aside::Damaged, &why)?;
                Ok(Vec::new())
            }
        }
    }

    /// Records the guards.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_guards(&self, rows: &[GuardRow]) -> Result<(), StoreError> {
        self.write_json("guards.json", rows, Durability::Synced)
    }

    /// Whether the items of a cohort's task are recorded as text. A damaged file is moved away.
    ///
    /// # Errors
    /// The file can neither be read nor moved.
    pub fn has_task_items(&self, cohort: &Cohort) -> Result<bool, StoreError> {
        let path = task_items::path(&self.folder, &cohort.cohort_id);
        let Some(text) = aside::read_if_there(&path)? else { return Ok(false) };
        let items = serde_json::from_slice::<TaskItems>(&text).map_err(|error| error.to_string());
        match items.and_then(|items| items.check(&cohort.model, &cohort.task)) {
            Ok(()) => Ok(true),
            Err(why) => aside::move_away(&self.folder, &path, Aside::Damaged, &why).map(|()| false),
        }
    }

    /// Writes the items of a task as text.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_task_items(&self, cohort_id: &str, items: &TaskItems) -> Result<(), StoreError> {
        let path = task_items::path(&self.folder, cohort_id);
        let text = serde_json::to_vec(items).map_err(|error| damaged(&path, error))?;
        files::write(&path, &text, Durability::Plain).map_err(|error| io("write", &path, error))
    }

    /// Where all of it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn cell_path(&self, cell_id: &str) -> PathBuf {
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

pub(super) fn damaged(path: &Path, error: impl fmt::Display) -> StoreError {
    StoreError::Damaged { path: path.display().to_string(), error: error.to_string() }
}
