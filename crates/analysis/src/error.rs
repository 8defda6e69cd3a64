//! What can go wrong between the recorded cells and the frames.

use std::path::PathBuf;

use hint::Hint;
use thiserror::Error;

/// Why an experiment could not be analysed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnalyseError {
    /// The folder holds no plan.
    #[error("no recorded experiment at {}: `plan.json` is missing", .dir.display())]
    MissingPlan {
        /// The folder that was asked for.
        dir: PathBuf,
    },
    /// No cell of the plan is on disk.
    #[error("none of the {planned} planned cells in {} is recorded yet", .dir.display())]
    NothingRecorded {
        /// The folder that was asked for.
        dir: PathBuf,
        /// Cells the plan lists.
        planned: usize,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{} is not a valid record: {source}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where it stopped making sense.
        source: serde_json::Error,
    },
    /// A cell was written by another version of the record layout.
    #[error("{} has record version {found}, this program reads version {expected}", .path.display())]
    SchemaVersion {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Version this program writes and reads.
        expected: u32,
    },
    /// A record that is not what its name says, or whose numbers cannot be.
    #[error("{} is damaged: {reason}", .path.display())]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A frame could not be built or encoded.
    #[error("cannot build the frame `{frame}`: {source}")]
    Frame {
        /// Name of the frame.
        frame: String,
        /// What the data frame library said.
        source: polars::error::PolarsError,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Hint for AnalyseError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::MissingPlan { .. } => {
                "point to a folder `results/<experiment>`; `sweep run <experiment.yaml>` creates it"
            }
            Self::NothingRecorded { .. } => "run the experiment first; finished cells appear under `cells/`",
            Self::Read { .. } => "check that the file exists and that you may read it",
            Self::Parse { .. } | Self::Inconsistent { .. } => {
                "run the experiment again: `sweep run` moves the file into damaged/ and makes its content again, all else is kept"
            }
            Self::SchemaVersion { .. } => {
                "analyse these results with the version that wrote them, or make them again with `sweep run`"
            }
            Self::Frame { .. } => return None,
            Self::Write { .. } => "check free space and permissions of the results folder",
        };
        Some(hint.to_owned())
    }
}
