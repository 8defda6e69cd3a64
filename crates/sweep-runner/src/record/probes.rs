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

use super::aside::{self, Aside};
use super::check;
use super::files::{self, Durability};
use super::schema::{Failure, Status, TrialKey};
use super::store::{StoreError, io};
use crate::code::Code;

/// Version of this layout and of what its numbers count; part of every probe's id.
pub const PROBE_SCHEMA_VERSION: u32 = 1;

/// A probe on one model and task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeRecord {
    /// [`PROBE_SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// Stable hash of everything that can change the rows.
    pub probe_id: String,
    /// The code that made it; a record of other code is not reused.
    #[serde(default)]
    pub code: Code,
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
    /// What to do about that, where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Seconds that it took.
    pub wall_s: f64,
    /// Names of the key columns of the rows.
    pub columns: Vec<String>,
    /// The rows, with what each item adds.
    pub rows: Vec<ProbeRow>,
}

impl ProbeRecord {
    /// Why it failed, where it did.
    pub fn failure(&self) -> Failure {
        Failure::of_record(self.error.as_deref(), self.hint.as_deref())
    }
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

    /// Whether a probe has a record that can be reused: it is whole, of this probe, of the same code as now (where `code` says which), and did not
    /// fail. Failed ones run again.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn is_done(&self, probe_id: &str, code: Option<&Code>) -> Result<bool, StoreError> {
        Ok(matches!(self.judge(probe_id, code)?, Some(Ok(Status::Done))))
    }

    /// As [`is_done`](Self::is_done), and moves a record that cannot be reused out of the way. For whoever holds the probe's lease.
    ///
    /// # Errors
    /// The record cannot be read or moved.
    pub fn review(&self, probe_id: &str, code: Option<&Code>) -> Result<bool, StoreError> {
        match self.judge(probe_id, code)? {
            None => Ok(false),
            Some(Ok(status)) => Ok(status == Status::Done),
            Some(Err((aside, why))) => {
                let dir = self.folder.parent().unwrap_or(&self.folder);
                aside::move_away(dir, &self.path(probe_id), aside, &why)?;
                Ok(false)
            }
        }
    }

    /// How a probe ended, or why its record cannot be reused; none where it has no record.
    #[expect(clippy::type_complexity, reason = "read by two functions here")]
    fn judge(
        &self,
        probe_id: &str,
        code: Option<&Code>,
    ) -> Result<Option<Result<Status, (Aside, String)>>, StoreError> {
        let Some(text) = aside::read_if_there(&self.path(probe_id))? else { return Ok(None) };
        let record = serde_json::from_slice::<ProbeRecord>(&text).map_err(|error| error.to_string());
        let whole = record.and_then(|record| check::probe(&record, probe_id).map(|()| record));
        Ok(Some(match whole {
            Err(why) => Err((Aside::Damaged, why)),
            Ok(record) => match code.filter(|code| record.code != **code) {
                Some(now) => Err((Aside::OtherCode, format!("it was made {}", record.code.against(now)))),
                None => Ok(record.status),
            },
        }))
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
