//! Thresholds that were found before a run, one file each: later runs, and other processes, take them over.

use records::code::Code;
use records::files::{self, Durability};
use records::schema::Calibration;
use serde::{Deserialize, Serialize};

use super::aside::{self, Aside};
use super::store::{Store, StoreError, damaged, io};

/// A threshold, and how it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationRecord {
    /// The trial and the task, in words.
    pub trial: String,
    /// The code that was evaluated.
    pub code: Code,
    /// What was found.
    pub found: Calibration,
    /// Every value that was tried, with the FLOPs reduction that it achieved, in order.
    pub tried: Vec<(f64, f64)>,
}

impl Store {
    /// The threshold of a request, by its id; none where there is no file. A file of other code, unless that is kept, and a damaged one
    /// are moved away.
    ///
    /// # Errors
    /// The file can neither be read nor moved.
    pub fn calibration(
        &self,
        id: &str,
        code: &Code,
        keep_other_code: bool,
    ) -> Result<Option<CalibrationRecord>, StoreError> {
        let path = self.calibration_path(id);
        let Some(text) = aside::read_if_there(&path)? else { return Ok(None) };
        match serde_json::from_slice::<CalibrationRecord>(&text) {
            Ok(record) if record.code == *code || keep_other_code => return Ok(Some(record)),
            Ok(_) => drop(aside::move_quietly(self.folder(), &path, Aside::OtherCode)?),
            Err(error) => aside::move_away(self.folder(), &path, Aside::Damaged, &error.to_string())?,
        }
        Ok(None)
    }

    /// Keeps the threshold of a request.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_calibration(&self, id: &str, record: &CalibrationRecord) -> Result<(), StoreError> {
        let path = self.calibration_path(id);
        let folder = self.folder().join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(|error| io("create", &folder, error))?;
        let mut text = serde_json::to_vec_pretty(record).map_err(|error| damaged(&path, error))?;
        text.push(b'\n');
        files::write(&path, &text, Durability::Synced).map_err(|error| io("write", &path, error))
    }

    fn calibration_path(&self, id: &str) -> std::path::PathBuf {
        self.folder().join(FOLDER).join(format!("{id}.json"))
    }
}

/// Where the files are.
const FOLDER: &str = "calibrations";
