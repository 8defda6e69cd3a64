//! What can go wrong while a report is drawn and written.

use std::path::PathBuf;

use hint::Hint;
use thiserror::Error;

use analysis::AnalyseError;

/// Why a report could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The recorded cells could not be analysed.
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
    /// A file could not be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of an earlier report could not be removed.
    #[error("cannot remove {}, which an earlier report made: {source}", .path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A plan from before strategies had families.
    #[error("plan.json does not name the family of the strategy `{strategy}`, by which figures are ordered")]
    NoFamily {
        /// The strategy.
        strategy: String,
    },
    /// A rule was chosen that the experiment does not have.
    #[error("no table has a row of {}", quoted(.unknown))]
    NoRule {
        /// What was chosen.
        unknown: Vec<String>,
        /// Names of the rules that there are.
        known: Vec<String>,
    },
    /// A reduction was chosen that the experiment does not have.
    #[error("no table has rows at a reduction of {}", .unknown.join(", "))]
    NoReduction {
        /// What was chosen.
        unknown: Vec<String>,
        /// Reductions that there are.
        known: Vec<String>,
    },
    /// The page could not be filled in.
    #[error("cannot make report.html: {reason}")]
    Page {
        /// What the template says.
        reason: String,
    },
    /// A document has no place for generated text.
    #[error("{document}: {problem}")]
    Splice {
        /// The document.
        document: String,
        /// What is wrong with its blocks.
        problem: String,
    },
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Hint for ReportError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Analyse(error) => error.hint(),
            Self::Read { .. } | Self::Page { .. } => None,
            Self::NoFamily { .. } => Some(
                "`sweep run --keep-other-code` on the experiment writes plan.json anew and runs no finished cell again"
                    .to_owned(),
            ),
            Self::NoRule { known, .. } => Some(format!("there are {}", quoted(known))),
            Self::NoReduction { known, .. } => Some(format!("there are {}; `--select` takes per cent or shares: @20 or @0.2", known.join(", "))),
            Self::Splice { .. } => {
                Some("a block is `<!-- BEGIN: tables/<name>.md -->` ... `<!-- END -->`, a value `<!-- VALUE: figures/<name>.csv; <column> \
                      .<decimals>; <column>=<value> -->` ... `<!-- /VALUE -->`".to_owned())
            }
            Self::Write { .. } | Self::Remove { .. } => Some("check free space and permissions of the results folder".to_owned()),
        }
    }
}
