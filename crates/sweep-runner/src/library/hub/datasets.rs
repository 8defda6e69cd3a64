//! Data sets of a hub, for the benchmarks: which file holds a split, found in the cache or downloaded into it.
//!
//! The hub keeps a copy of every data set in one form, `config/split/0000.parquet` at the revision `refs/convert/parquet`, whatever
//! its owner uploaded. That copy is read.

use std::path::PathBuf;
use std::sync::PoisonError;

use evaluation::tasks::{DatasetError, Datasets, HubSplit};
use hub::{Cache, Client, HubError, Kind, Repository, Settings};
use polars::prelude::PolarsError;
use thiserror::Error;

use super::progress::Progress;
use super::{Hub, commit_of};
use crate::library::Downloads;
use crate::library::parquet;

/// Revision that holds the copies.
const CONVERTED: &str = "refs/convert/parquet";

/// Why a split could not be had.
#[derive(Debug, Error)]
enum Refusal {
    #[error("{0}")]
    Hub(#[from] HubError),
    #[error("{split} is not in the cache")]
    NotCached { task: String, split: HubSplit },
    #[error("{repository} has no file {file} at `{CONVERTED}`")]
    NoFile { repository: Repository, file: String },
    #[error("{split} is kept in several files, of which this program would read the first")]
    SeveralFiles { split: HubSplit },
    #[error("cannot read {path}: {error}", path = path.display())]
    Unreadable { path: PathBuf, error: PolarsError },
}

impl Refusal {
    fn hint(&self) -> String {
        match self {
            Self::Hub(error) => error.hint(),
            Self::NotCached { task, .. } => {
                format!(
                    "`sweep fetch {task}` downloads it and `sweep run` does so by itself; or name a folder that holds it with --data-dir"
                )
            }
            Self::NoFile { .. } | Self::SeveralFiles { .. } => {
                "the data set has changed; put its rows into a folder and name that with --data-dir, as docs/models-and-data.md says"
                    .to_owned()
            }
            Self::Unreadable { .. } => "delete the file and fetch it again".to_owned(),
        }
    }
}

impl Datasets for Hub {
    fn rows(&self, task: &str, split: &HubSplit) -> Result<String, DatasetError> {
        let rows = self
            .split(task, split)
            .and_then(|path| parquet::json_lines(&path).map_err(|error| Refusal::Unreadable { path, error }));
        rows.map_err(|refusal| DatasetError { message: refusal.to_string(), hint: refusal.hint() })
    }
}

impl Hub {
    /// The file that holds a split.
    fn split(&self, task: &str, split: &HubSplit) -> Result<PathBuf, Refusal> {
        let repository = Repository::new(Kind::Dataset, split.repository)?;
        let settings = Settings::from_env()?;
        let cache = Cache::new(settings.cache.clone());
        let downloads = self.allowed(&settings);
        let file = |number: usize| format!("{}/{}/{number:04}.parquet", split.config, split.split);
        let mut used = self.datasets.lock().unwrap_or_else(PoisonError::into_inner);
        // A repository stands for one commit, whatever is taken from it and when.
        let looked_up = used.values().find(|used| used.repository == repository.to_string());
        let commit = match looked_up {
            Some(used) => Some(used.commit.clone()),
            None if downloads == Downloads::Refresh => None,
            None => cache.commit(&repository, CONVERTED)?,
        };
        let cached = match &commit {
            Some(commit) => match cache.file(&repository, commit, &file(0)) {
                // Downloaded again below.
                Err(HubError::Damaged { .. }) if downloads != Downloads::Never => None,
                found => found?.map(|path| (commit.clone(), path)),
            },
            None => None,
        };
        let (commit, path) = match cached {
            Some(found) => found,
            None if downloads == Downloads::Never => {
                return Err(if settings.offline && self.downloads != Downloads::Never {
                    HubError::Offline { what: split.to_string() }.into()
                } else {
                    Refusal::NotCached { task: task.to_owned(), split: *split }
                });
            }
            None => {
                let client = Client::new(&settings);
                let mut progress = Progress::start(task);
                let report = &mut |event: hub::Event<'_>| progress.show(&event);
                let listing = match client.list(&repository, commit.as_deref().unwrap_or(CONVERTED), report) {
                    // What the cache holds may do without a hub that cannot be reached.
                    Err(error @ HubError::Network { .. }) if commit.is_none() => {
                        let Some(commit) = cache.commit(&repository, CONVERTED)? else { return Err(error.into()) };
                        let Some(path) = cache.file(&repository, &commit, &file(0))? else { return Err(error.into()) };
                        progress.not_asked(CONVERTED, &error.to_string());
                        used.insert(task.to_owned(), commit_of(task, &repository, CONVERTED, &commit));
                        return Ok(path);
                    }
                    listing => listing?,
                };
                let has = |file: &String| listing.files.contains(file);
                if !has(&file(0)) {
                    return Err(Refusal::NoFile { repository, file: file(0) });
                }
                if has(&file(1)) {
                    return Err(Refusal::SeveralFiles { split: *split });
                }
                let folder = client.fetch(&repository, &listing.commit, &[&file(0)], report)?;
                client.pin(&repository, CONVERTED, &listing.commit)?;
                (listing.commit, folder.join(file(0)))
            }
        };
        used.insert(task.to_owned(), commit_of(task, &repository, CONVERTED, &commit));
        Ok(path)
    }
}
