//! The probes of a results folder, as a run writes and reuses them.
//!
//! ```text
//! results/<experiment>/probes.json         ids of all planned probes, in order
//!                      probes/<id>.json    one record per finished probe
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use records::check;
use records::code::Code;
use records::files::{self, Durability};
use records::probes::{ProbeRecord, index_path, record_path};
use records::schema::Status;

use super::aside::{self, Aside};
use super::store::{StoreError, io};

/// The probes of a results folder.
pub struct ProbeStore {
    dir: PathBuf,
}

impl ProbeStore {
    /// The probes in the results folder `dir`.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Writes down which probes are planned.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_index(&self, ids: &[&str]) -> Result<(), StoreError> {
        let folder = self.dir.join("probes");
        fs::create_dir_all(&folder).map_err(|error| io("create", &folder, error))?;
        let text = serde_json::to_vec_pretty(ids).unwrap_or_else(|_| unreachable!("ids are text"));
        write(&index_path(&self.dir), &text)
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
                aside::move_away(&self.dir, &record_path(&self.dir, probe_id), aside, &why)?;
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
        let Some(text) = aside::read_if_there(&record_path(&self.dir, probe_id))? else { return Ok(None) };
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
        write(&record_path(&self.dir, &record.probe_id), &text)
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    files::write(path, bytes, Durability::Synced).map_err(|error| io("write", path, error))
}
