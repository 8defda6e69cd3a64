//! What users of this crate call.

use std::path::PathBuf;

use serde::Deserialize;

use crate::download::{Wanted, escape};
use crate::http::Http;
use crate::names::is_commit;
use crate::status::Asked;
use crate::{Cache, Event, HubError, Report, Repository, Settings};

/// Largest description of a repository; one with ten thousand files has about a megabyte.
const LARGEST_LISTING: u64 = 64 << 20;

/// Downloads into a cache.
#[derive(Debug)]
pub struct Client {
    http: Http,
    cache: Cache,
    offline: bool,
}

/// A revision of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The commit that it stands for.
    pub commit: String,
    /// Names of the files, as the hub gives them.
    pub files: Vec<String>,
}

#[derive(Deserialize)]
struct Described {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Client {
    /// A client; nothing is sent yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self { http: Http::new(settings), cache: Cache::new(settings.cache.clone()), offline: settings.offline }
    }

    /// The cache that it downloads into.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Asks the hub what a revision (a branch, a tag or a commit) stands for.
    ///
    /// # Errors
    /// No network, no such repository or revision, no permission, or an answer that makes no sense.
    pub fn list(&self, repository: &Repository, revision: &str, report: Report<'_>) -> Result<Listing, HubError> {
        // Refuses what could not be noted.
        self.cache.commit(repository, revision)?;
        self.online(|| format!("{repository} at `{revision}`"))?;
        let path = format!("{}/revision/{}", repository.api_path(), escape(revision));
        let asked = Asked { repository, revision, file: None };
        let (url, text) = self.http.text(&path, LARGEST_LISTING, asked, report)?;
        let bad = |problem: String| HubError::BadAnswer { url: url.clone(), problem };
        let described: Described =
            serde_json::from_str(&text).map_err(|error| bad(format!("no description of a repository: {error}")))?;
        if !is_commit(&described.sha) {
            return Err(bad(format!("`{}` is no commit", described.sha.escape_debug())));
        }
        if is_commit(revision) && described.sha != revision {
            return Err(bad(format!("commit {} was asked for, {} came", revision, described.sha)));
        }
        let files = described.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        Ok(Listing { commit: described.sha, files })
    }

    /// Downloads those of the files that the cache lacks or holds damaged; returns the folder that holds them.
    ///
    /// # Errors
    /// As [`Client::list`]; also a name that could lead out of the cache, a file that is not what the hub announced, or no room.
    pub fn fetch(
        &self,
        repository: &Repository,
        commit: &str,
        files: &[&str],
        report: Report<'_>,
    ) -> Result<PathBuf, HubError> {
        let mut missing = Vec::new();
        for name in files {
            match self.cache.file(repository, commit, name) {
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(error @ HubError::Damaged { .. }) if !self.offline => {
                    report(Event::Damaged { why: error.to_string() });
                }
                Err(error) => return Err(error),
            }
            missing.push(Wanted { repository, commit, name });
        }
        if let Some(first) = missing.first() {
            self.online(|| format!("{} of {repository} at {commit}", first.name))?;
        }
        let mut described = Vec::new();
        for wanted in &missing {
            described.push(wanted.describe(&self.http, report)?);
        }
        if !missing.is_empty() {
            report(Event::Begin { files: missing.len(), bytes: described.iter().map(|file| file.size).sum() });
        }
        for (wanted, described) in missing.iter().zip(&described) {
            wanted.download(&self.http, &self.cache, described, report)?;
        }
        Ok(self.cache.snapshot(repository, commit))
    }

    /// Notes in the cache that `revision` stands for `commit`, so that it is found without asking. To be called when everything
    /// needed is there.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn pin(&self, repository: &Repository, revision: &str, commit: &str) -> Result<(), HubError> {
        self.cache.pin(repository, revision, commit)
    }

    fn online(&self, what: impl FnOnce() -> String) -> Result<(), HubError> {
        if self.offline { Err(HubError::Offline { what: what() }) } else { Ok(()) }
    }
}
