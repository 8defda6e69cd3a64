//! The folder of the cache.
//!
//! ```text
//! <cache>/models--owner--name/blobs/<hash>                 bytes, named by what they hash to
//!                            /snapshots/<commit>/<name>    links to blobs
//!                            /refs/<revision>              the commit that a branch or tag stood for
//!                            /.verified/<hash>             size, times and inode of a blob that was compared with its name
//! <cache>/.locks/models--owner--name/<hash>.lock           held while a blob is written
//! ```

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::hash::Expected;
use crate::names::{is_commit, is_plain_path};
use crate::{Event, HubError, Report, Repository, verified};

/// What is on this machine. Looking never asks the hub.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// Held while a blob is written; given back when dropped, or by the system when the process ends.
#[derive(Debug)]
pub(crate) struct BlobLock {
    _file: File,
}

impl Cache {
    /// The cache in this folder, which need not exist.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The commit that `revision` stands for: itself, or what it stood for when it was last downloaded.
    ///
    /// # Errors
    /// A revision that cannot be one.
    pub fn commit(&self, repository: &Repository, revision: &str) -> Result<Option<String>, HubError> {
        if is_commit(revision) {
            return Ok(Some(revision.to_owned()));
        }
        let path = self.reference(repository, revision)?;
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|commit| is_commit(commit))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(HubError::io("read", &path, error)),
        }
    }

    /// Where the files of a commit lie, as far as they were downloaded.
    #[must_use]
    pub fn snapshot(&self, repository: &Repository, commit: &str) -> PathBuf {
        self.repository(repository).join("snapshots").join(commit)
    }

    /// Whether a file of a commit is there, whole or not.
    ///
    /// # Errors
    /// A name that could lead out of the cache.
    pub fn has(&self, repository: &Repository, commit: &str, name: &str) -> Result<bool, HubError> {
        Ok(self.pointer(repository, commit, name)?.is_file())
    }

    /// A file of a commit, if it is there. Its bytes are compared with the hash that names them, unless they were before and the
    /// file did not change since. A file that is no link to a blob, which some systems have instead, is taken as it is.
    ///
    /// # Errors
    /// A name that could lead out of the cache, a file that cannot be read, or [`HubError::Damaged`].
    pub fn file(&self, repository: &Repository, commit: &str, name: &str) -> Result<Option<PathBuf>, HubError> {
        let path = self.pointer(repository, commit, name)?;
        if !path.is_file() {
            return Ok(None);
        }
        if let Some((blob, expected)) = verified::blob_behind(&path) {
            self.check(repository, name, &blob, &expected)?;
        }
        Ok(Some(path))
    }

    /// Refuses a blob that holds something else than its name says.
    pub(crate) fn check(
        &self,
        repository: &Repository,
        name: &str,
        blob: &Path,
        expected: &Expected,
    ) -> Result<(), HubError> {
        let damage = verified::damage(&self.repository(repository), blob, expected);
        match damage.map_err(|error| HubError::io("read", blob, error))? {
            None => Ok(()),
            Some(got) => {
                let (repository, file, path) = (repository.clone(), name.to_owned(), blob.to_owned());
                Err(HubError::Damaged { repository, file, path, got })
            }
        }
    }

    /// Notes that a blob was just compared with its name.
    pub(crate) fn note_whole(&self, repository: &Repository, blob: &Path, expected: &Expected) {
        verified::note_whole(&self.repository(repository), blob, expected);
    }

    /// Notes that `revision` stands for `commit`. Commits stand for themselves, and what is noted already is not written again: a
    /// cache that cannot be written serves those who need nothing new.
    pub(crate) fn pin(&self, repository: &Repository, revision: &str, commit: &str) -> Result<(), HubError> {
        if self.commit(repository, revision)?.as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.reference(repository, revision)?;
        let aside = aside(&path);
        create_parent(&path)?;
        fs::write(&aside, commit).map_err(|error| HubError::io("write", &aside, error))?;
        fs::rename(&aside, &path).map_err(|error| HubError::io("write", &path, error))
    }

    /// Where the bytes with this hash are kept.
    pub(crate) fn blob(&self, repository: &Repository, expected: &Expected) -> PathBuf {
        self.repository(repository).join("blobs").join(expected.as_str())
    }

    /// Lets the file of a commit show the bytes with this hash.
    pub(crate) fn link(
        &self,
        repository: &Repository,
        commit: &str,
        name: &str,
        expected: &Expected,
    ) -> Result<(), HubError> {
        let path = self.pointer(repository, commit, name)?;
        create_parent(&path)?;
        // Relative, so that the cache can be moved: out of the folders of the name, the commit and `snapshots`.
        let mut target: PathBuf = std::iter::repeat_n("..", name.split('/').count() + 1).collect();
        target.extend(["blobs", expected.as_str()]);
        let aside = aside(&path);
        let io = |error| HubError::io("link", &path, error);
        match fs::remove_file(&aside) {
            Err(error) if !is_absent(&error) => return Err(io(error)),
            _ => symlink(&target, &aside).map_err(io)?,
        }
        fs::rename(&aside, &path).map_err(io)
    }

    /// Waits until no other process writes this blob.
    pub(crate) fn lock(
        &self,
        repository: &Repository,
        name: &str,
        expected: &Expected,
        report: Report<'_>,
    ) -> Result<BlobLock, HubError> {
        let folder = self.folder.join(".locks").join(repository.folder_name());
        let path = folder.join(format!("{}.lock", expected.as_str()));
        create_parent(&path)?;
        let io = |error| HubError::io("lock", &path, error);
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                report(Event::Locked { file: name });
                file.lock().map_err(io)?;
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        Ok(BlobLock { _file: file })
    }

    fn repository(&self, repository: &Repository) -> PathBuf {
        self.folder.join(repository.folder_name())
    }

    fn reference(&self, repository: &Repository, revision: &str) -> Result<PathBuf, HubError> {
        if !is_plain_path(revision) {
            return Err(HubError::BadRevision { revision: revision.escape_debug().to_string() });
        }
        Ok(self.repository(repository).join("refs").join(revision))
    }

    fn pointer(&self, repository: &Repository, commit: &str, name: &str) -> Result<PathBuf, HubError> {
        if !is_commit(commit) {
            return Err(HubError::BadRevision { revision: commit.escape_debug().to_string() });
        }
        if !is_plain_path(name) {
            return Err(HubError::bad_name(repository, name));
        }
        Ok(self.snapshot(repository, commit).join(name))
    }
}

pub(crate) fn create_parent(path: &Path) -> Result<(), HubError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|error| HubError::io("create", parent, error))
}

pub(crate) fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// A name beside `path` that no other process uses.
pub(crate) fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn repository() -> Repository {
        Repository::new(Kind::Model, "test/model").unwrap()
    }

    #[test]
    fn files_in_folders_are_links_that_reach_their_blob() {
        let folder = tempfile::TempDir::new().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        let expected = Expected::from_etag("ce013625030ba8dba906f756967f9e9ca394464a").unwrap();
        let blob = cache.blob(&repository(), &expected);
        create_parent(&blob).unwrap();
        fs::write(&blob, "hello\n").unwrap();
        for name in ["a.txt", "deep/er/a.txt"] {
            assert_eq!(cache.file(&repository(), COMMIT, name).unwrap(), None);
            cache.link(&repository(), COMMIT, name, &expected).unwrap();
            cache.link(&repository(), COMMIT, name, &expected).unwrap();
            let path = cache.file(&repository(), COMMIT, name).unwrap().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "hello\n");
            assert!(fs::read_link(&path).unwrap().is_relative());
        }
    }

    #[test]
    fn revisions_are_remembered() {
        let folder = tempfile::TempDir::new().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        assert_eq!(cache.commit(&repository(), "main").unwrap(), None);
        assert_eq!(cache.commit(&repository(), COMMIT).unwrap().as_deref(), Some(COMMIT));
        for revision in ["main", "refs/pr/1"] {
            cache.pin(&repository(), revision, COMMIT).unwrap();
            assert_eq!(cache.commit(&repository(), revision).unwrap().as_deref(), Some(COMMIT));
        }
        let path = folder.path().join("models--test--model/refs/main");
        assert_eq!(fs::read_to_string(&path).unwrap(), COMMIT);
        // A damaged one is none: it would become a path.
        fs::write(&path, "../../x").unwrap();
        assert_eq!(cache.commit(&repository(), "main").unwrap(), None);
    }

    #[test]
    fn names_that_lead_out_of_the_cache_are_refused() {
        let folder = tempfile::TempDir::new().unwrap();
        let cache = Cache::new(folder.path().to_owned());
        assert!(cache.commit(&repository(), "../main").is_err());
        assert!(cache.file(&repository(), COMMIT, "../../x").is_err());
        assert!(cache.file(&repository(), "main", "x").is_err());
        let expected = Expected::from_etag("ce013625030ba8dba906f756967f9e9ca394464a").unwrap();
        assert!(cache.link(&repository(), COMMIT, "/etc/x", &expected).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
