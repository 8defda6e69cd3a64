//! What one finished probe leaves behind, as plain data, and where it stands.
//!
//! ```text
//! results/<experiment>/probes.json         ids of all planned probes, in order
//!                      probes/<id>.json    one record per finished probe
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use evaluation::probes::ProbeRow;
use serde::{Deserialize, Serialize};

use super::files::{self, Durability};
use super::regular;
use super::schema::{Status, TrialKey};
use super::store::{StoreError, io};

/// Version of this layout and of what its numbers count; part of every probe's id.
pub const PROBE_SCHEMA_VERSION: u32 = 1;

/// A probe on one model and task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeRecord {
    /// [`PROBE_SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// Stable hash of everything that can change the rows.
    pub probe_id: String,
    /// Name of the probe.
    pub probe: String,
    /// Resolved options as compact JSON with sorted keys.
    pub options: String,
    /// Model reference as written in the experiment.
    pub model: String,
    /// Task name.
    pub task: String,
    /// The trial, where the probe looks at a strategy.
    pub trial: Option<TrialKey>,
    /// Items looked at.
    pub items: usize,
    /// How it ended.
    pub status: Status,
    /// Why it failed.
    pub error: Option<String>,
    /// Seconds that it took.
    pub wall_s: f64,
    /// Names of the key columns of the rows.
    pub columns: Vec<String>,
    /// The rows, with what each item adds.
    pub rows: Vec<ProbeRow>,
}

/// The probes of a results folder.
pub struct ProbeStore {
    index: PathBuf,
    folder: PathBuf,
}

impl ProbeStore {
    /// The probes in the results folder `dir`.
    pub fn at(dir: &Path) -> Self {
        Self { index: dir.join("probes.json"), folder: dir.join("probes") }
    }

    /// Writes down which probes are planned.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_index(&self, ids: &[&str]) -> Result<(), StoreError> {
        fs::create_dir_all(&self.folder).map_err(|error| io("create", &self.folder, error))?;
        let text = serde_json::to_vec_pretty(ids).unwrap_or_else(|_| unreachable!("ids are text"));
        write(&self.index, &text)
    }

    /// Whether a probe has a record of this layout that did not fail. Failed ones run again.
    pub fn is_done(&self, probe_id: &str) -> bool {
        let text = regular::read_text(&self.path(probe_id), regular::MAX_BYTES).ok();
        let record = text.and_then(|text| serde_json::from_str::<ProbeRecord>(&text).ok());
        record.is_some_and(|record| record.status == Status::Done && record.schema_version == PROBE_SCHEMA_VERSION)
    }

    /// Records a finished probe.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, record: &ProbeRecord) -> Result<(), StoreError> {
        let text =
            serde_json::to_vec(record).unwrap_or_else(|_| unreachable!("numbers, text and lists of them are JSON"));
        write(&self.path(&record.probe_id), &text)
    }

    /// Where the ids of all planned probes stand.
    pub fn index_path(&self) -> &Path {
        &self.index
    }

    /// Where the record of a probe stands.
    pub fn path(&self, probe_id: &str) -> PathBuf {
        self.folder.join(format!("{probe_id}.json"))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    files::write(path, bytes, Durability::Synced).map_err(|error| io("write", path, error))
}
