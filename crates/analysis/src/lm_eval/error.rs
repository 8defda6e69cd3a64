use std::path::PathBuf;

use hint::Hint;
use thiserror::Error;

use crate::AnalyseError;

/// Why the files of lm-evaluation-harness could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LmEvalError {
    /// The recorded cells could not be read.
    #[error(transparent)]
    Analyse(#[from] AnalyseError),
    /// A file could not be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Hint for LmEvalError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Analyse(error) => error.hint(),
            Self::Write { .. } => Some(
                "name a folder with --lm-eval-output that can be written; the results folder is as it was".to_owned(),
            ),
        }
    }
}
