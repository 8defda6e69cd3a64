//! Data sets of a hub, for the benchmarks: which file holds a split, found in the cache or downloaded into it.
//!
//! The hub keeps a copy of every data set in one form, `config/split/0000.parquet` at the revision `refs/convert/parquet`, whatever
//! its owner uploaded; a large split has `0001.parquet` and more beside it. That copy is read, all parts in order.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::PoisonError;

use evaluation::tasks::{DatasetError, Datasets, HubSplit, MOST_BYTES};
use hint::Hint;
use hub::{Cache, Client, HubError, Kind, Repository, Settings};
use thiserror::Error;

use super::progress::Progress;
use super::{Hub, commit_of};
use crate::library::Downloads;
use crate::library::parquet::{self, ParquetError};

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
    #[error("{split} is not whole in the cache: {file} is missing")]
    NotWhole { task: String, split: HubSplit, file: String },
    #[error("{split} has more than {MOST_BYTES} bytes of text")]
    TooLarge { split: HubSplit },
    #[error("{0}")]
    Parquet(#[from] ParquetError),
}

impl Hint for Refusal {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Hub(error) => return error.hint(),
            Self::NotCached { task, .. } => {
                format!(
                    "`sweep fetch {task}` downloads it and `sweep run` does so by itself; or name a folder that holds it with --data-dir"
                )
            }
            Self::NotWhole { task, .. } => {
                format!("`sweep fetch {task}` downloads what is missing; or name a folder that holds it with --data-dir")
            }
            Self::NoFile { .. } | Self::TooLarge { .. } => {
                "the data set has changed; put its rows into a folder and name that with --data-dir, as docs/models-and-data.md says"
                    .to_owned()
            }
            Self::Parquet(error) => return error.hint(),
        })
    }
}

/// The parts of a split, as far as they are in the cache.
enum Parts {
    /// None is there.
    None,
    /// One is missing, or the bytes behind it are.
    Lacking(String),
    /// All that were downloaded, in order.
    Whole(Vec<PathBuf>),
}

impl Datasets for Hub {
    fn rows(&self, task: &str, split: &HubSplit) -> Result<String, DatasetError> {
        let rows = self.split(task, split).and_then(|parts| {
            let mut rows = String::new();
            for part in &parts {
                rows += &parquet::json_lines(part)?;
                if rows.len() as u64 > MOST_BYTES {
                    return Err(Refusal::TooLarge { split: *split });
                }
            }
            Ok(rows)
        });
        rows.map_err(|refusal| DatasetError { message: refusal.to_string(), hint: refusal.hint() })
    }
}

impl Hub {
    /// The files that hold a split, in order.
    fn split(&self, task: &str, split: &HubSplit) -> Result<Vec<PathBuf>, Refusal> {
        let repository = Repository::new(Kind::Dataset, split.repository)?;
        let settings = Settings::from_env()?;
        let cache = Cache::new(settings.cache.clone());
        let downloads = self.allowed(&settings);
        let folder = format!("{}/{}", split.config, split.split);
        let mut used = self.datasets.lock().unwrap_or_else(PoisonError::into_inner);
        // A repository stands for one commit, whatever is taken from it and when.
        let looked_up = used.values().find(|used| used.repository == repository.to_string());
        let commit = match looked_up {
            Some(used) => Some(used.commit.clone()),
            None if downloads == Downloads::Refresh => None,
            None => cache.commit(&repository, CONVERTED)?,
        };
        let cached = match &commit {
            Some(commit) => match cached(&cache, &repository, commit, &folder) {
                // Downloaded again below.
                Err(HubError::Damaged { .. }) if downloads != Downloads::Never => Parts::None,
                found => found?,
            },
            None => Parts::None,
        };
        let (commit, parts) = match (commit, cached) {
            (Some(commit), Parts::Whole(parts)) => (commit, parts),
            _ if downloads == Downloads::Never && self.downloads != Downloads::Never => {
                return Err(HubError::Offline { what: split.to_string() }.into());
            }
            (_, Parts::Lacking(file)) if downloads == Downloads::Never => {
                return Err(Refusal::NotWhole { task: task.to_owned(), split: *split, file });
            }
            _ if downloads == Downloads::Never => {
                return Err(Refusal::NotCached { task: task.to_owned(), split: *split });
            }
            (commit, _) => {
                let client = Client::new(&settings);
                let mut progress = Progress::start(task);
                let report = &mut |event: hub::Event<'_>| progress.show(&event);
                let listing = match client.list(&repository, commit.as_deref().unwrap_or(CONVERTED), report) {
                    // What the cache holds may do without a hub that cannot be reached.
                    Err(error @ HubError::Network { .. }) if commit.is_none() => {
                        let Some(commit) = cache.commit(&repository, CONVERTED)? else { return Err(error.into()) };
                        let Parts::Whole(parts) = self::cached(&cache, &repository, &commit, &folder)? else {
                            return Err(error.into());
                        };
                        progress.not_asked(CONVERTED, &error.to_string());
                        used.insert(task.to_owned(), commit_of(task, &repository, CONVERTED, &commit));
                        return Ok(parts);
                    }
                    listing => listing?,
                };
                let inside = |file: &String| file.strip_prefix(&folder)?.strip_prefix('/').and_then(number);
                let numbers: BTreeSet<usize> = listing.files.iter().filter_map(inside).collect();
                if let Some(missing) = lacking(&numbers) {
                    return Err(Refusal::NoFile { repository, file: format!("{folder}/{}", part(missing)) });
                }
                // The first one last: where it is there all are, however a download ended.
                let files: Vec<String> = numbers.iter().rev().map(|n| format!("{folder}/{}", part(*n))).collect();
                let files: Vec<&str> = files.iter().map(String::as_str).collect();
                let snapshot = client.fetch(&repository, &listing.commit, &files, report)?;
                client.pin(&repository, CONVERTED, &listing.commit)?;
                (listing.commit, files.iter().rev().map(|file| snapshot.join(file)).collect())
            }
        };
        used.insert(task.to_owned(), commit_of(task, &repository, CONVERTED, &commit));
        Ok(parts)
    }
}

/// Name of a part.
fn part(number: usize) -> String {
    format!("{number:04}.parquet")
}

/// Number of a part, by its name.
fn number(name: &str) -> Option<usize> {
    let number = name.strip_suffix(".parquet")?.parse().ok()?;
    (part(number) == name).then_some(number)
}

/// The first number that should be there and is not: parts are counted from 0 without gaps.
fn lacking(numbers: &BTreeSet<usize>) -> Option<usize> {
    let expected = numbers.last().map_or(1, |last| last + 1);
    (0..expected).find(|number| !numbers.contains(number))
}

/// The parts of a split in the cache, each compared with the hash that names it.
fn cached(cache: &Cache, repository: &Repository, commit: &str, folder: &str) -> Result<Parts, HubError> {
    let Ok(entries) = fs::read_dir(cache.snapshot(repository, commit).join(folder)) else { return Ok(Parts::None) };
    // Links whose bytes are gone are among them: they say how many there should be.
    let numbers =
        entries.flatten().filter_map(|entry| number(entry.file_name().to_str()?)).collect::<BTreeSet<usize>>();
    if numbers.is_empty() {
        return Ok(Parts::None);
    }
    if let Some(missing) = lacking(&numbers) {
        return Ok(Parts::Lacking(part(missing)));
    }
    let mut parts = Vec::new();
    for number in numbers {
        match cache.file(repository, commit, &format!("{folder}/{}", part(number)))? {
            Some(path) => parts.push(path),
            None => return Ok(Parts::Lacking(part(number))),
        }
    }
    Ok(Parts::Whole(parts))
}
