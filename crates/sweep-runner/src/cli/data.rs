//! `--data-dir`: where the files of the benchmarks lie, if the hub is not to be asked for them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use miette::miette;

use super::{Failure, refused};
use crate::home;
use crate::library::{Downloads, Library};

/// Names the folder where the command line does not.
const VARIABLE: &str = "SWEEP_DATA_DIR";

/// Where benchmark data lies.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct DataArgs {
    /// Folder that holds the files of the benchmarks; `SWEEP_DATA_DIR` if left out, and the data sets of the hub without either
    #[arg(long, value_name = "DIR", value_parser = crate::home::argument())]
    data_dir: Option<PathBuf>,
}

impl DataArgs {
    /// As `--data-dir` would name it.
    pub(super) fn at(data_dir: Option<PathBuf>) -> Self {
        Self { data_dir }
    }

    /// The library with this data.
    ///
    /// # Errors
    /// What was named is no folder.
    pub(super) fn library(&self, downloads: Downloads) -> Result<Library, Failure> {
        Ok(Library::with(self.folder()?, downloads))
    }

    /// The data directory, or none.
    ///
    /// # Errors
    /// What was named is no folder.
    pub(super) fn folder(&self) -> Result<Option<PathBuf>, Failure> {
        let variable = || std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        let (folder, named_by) = match (&self.data_dir, variable()) {
            (Some(folder), _) => (folder.clone(), "--data-dir"),
            (None, Some(folder)) => {
                let help = "name the folder that holds lambada/, arc/ and so on; docs/models-and-data.md describes it";
                let folder = home::expand(Path::new(&folder))
                    .map_err(|problem| refused(miette!(help = help, "{VARIABLE}: {problem}")))?;
                (folder, VARIABLE)
            }
            (None, None) => return Ok(None),
        };
        if !folder.is_dir() {
            let help = "name the folder that holds lambada/, arc/ and so on; docs/models-and-data.md describes it";
            let problem = format!("{named_by} names {}, which is no folder", folder.display());
            return Err(refused(miette!(help = help, "{problem}")));
        }
        Ok(Some(folder))
    }

    /// The same as words of a command line, for another process, which inherits the variable.
    pub(super) fn words(&self) -> Vec<OsString> {
        self.data_dir.iter().flat_map(|folder| ["--data-dir".into(), folder.clone().into()]).collect()
    }
}
