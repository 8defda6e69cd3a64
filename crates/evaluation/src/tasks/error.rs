use thiserror::Error;

use crate::tokenizer::TokenizerError;

/// Why a task could not be loaded.
#[derive(Debug, Error)]
pub enum TaskError {
    /// No task of that name.
    #[error("unknown task `{name}`")]
    Unknown {
        /// What was written.
        name: String,
        /// The closest known name.
        nearest: Option<&'static str>,
    },
    /// A line that is not a valid item.
    #[error("{file}:{line}: {problem}")]
    Line {
        /// The file.
        file: String,
        /// 1-based line.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A text that the tokenizer refuses.
    #[error("{file}:{line}: {error}")]
    Tokenizer {
        /// The file.
        file: String,
        /// 1-based line.
        line: usize,
        /// What it says.
        error: TokenizerError,
    },
}

impl TaskError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { nearest: Some(name), .. } => Some(format!("did you mean `{name}`?")),
            Self::Unknown { .. } => Some("`sweep tasks` lists them all".to_owned()),
            Self::Line { .. } => {
                Some("the format of items is described in the README of the reference tasks".to_owned())
            }
            Self::Tokenizer { error, .. } => error.hint(),
        }
    }
}
