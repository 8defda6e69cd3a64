//! Which blobs of the cache were found to hold what their names say.
//!
//! A blob is named by the hash of its bytes, so a damaged one can be told at any time, at the cost of reading it. That is done once:
//! size, times and inode of a blob that was found whole are noted in `<repository>/.verified/<hash>`, and it is hashed again only
//! when one of them differs. The note is a convenience: where it cannot be written, every process hashes for itself. The hub's own
//! tools look at `blobs`, `refs` and `snapshots` alone, and remove the folder with the repository.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::hash::Expected;
use crate::names::is_hash;

/// What this process found, for caches that cannot be written.
static FOUND: Mutex<BTreeMap<PathBuf, String>> = Mutex::new(BTreeMap::new());

/// The blob behind a file of a snapshot, with the hash that is its name; none for a file that is no link to a blob, whose hash
/// nobody knows.
pub(crate) fn blob_behind(pointer: &Path) -> Option<(PathBuf, Expected)> {
    let target = fs::read_link(pointer).ok()?;
    let name = target.file_name()?.to_str()?;
    let in_blobs = target.parent().and_then(Path::file_name).is_some_and(|folder| folder == "blobs");
    let expected = Expected::from_etag(name).filter(|_| in_blobs && is_hash(name))?;
    let blob = without_detours(&pointer.parent()?.join(&target));
    // Where a folder on the way is a link itself, the detour is the way.
    Some((if blob.is_file() { blob } else { pointer.to_owned() }, expected))
}

/// The path without `x/..`, for people to read.
fn without_detours(path: &Path) -> PathBuf {
    let mut short = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if short.file_name().is_some() => drop(short.pop()),
            part => short.push(part),
        }
    }
    short
}

/// The hash of a blob, if it is another than its name says.
///
/// # Errors
/// The blob cannot be read.
pub(crate) fn damage(repository: &Path, blob: &Path, expected: &Expected) -> std::io::Result<Option<String>> {
    let about = stamp(&fs::metadata(blob)?);
    let note = note(repository, expected);
    let noted = fs::read_to_string(&note).ok();
    let found = || FOUND.lock().unwrap_or_else(PoisonError::into_inner).get(&note).cloned();
    if noted.or_else(found).is_some_and(|noted| noted == about) {
        return Ok(None);
    }
    let got = expected.of_file(blob)?;
    if got != expected.as_str() {
        return Ok(Some(got));
    }
    // As it was before it was read: what changed in between is seen the next time.
    remember(note, about);
    Ok(None)
}

/// Notes that a blob that was compared just now is whole.
pub(crate) fn note_whole(repository: &Path, blob: &Path, expected: &Expected) {
    if let Ok(about) = fs::metadata(blob) {
        remember(note(repository, expected), stamp(&about));
    }
}

fn remember(note: PathBuf, about: String) {
    let aside = crate::cache::aside(&note);
    let written = note.parent().is_some_and(|folder| fs::create_dir_all(folder).is_ok())
        && fs::write(&aside, &about).is_ok()
        && fs::rename(&aside, &note).is_ok();
    if !written {
        // Nothing there to remove where nothing can be written.
        let _ = fs::remove_file(&aside);
    }
    FOUND.lock().unwrap_or_else(PoisonError::into_inner).insert(note, about);
}

fn note(repository: &Path, expected: &Expected) -> PathBuf {
    repository.join(".verified").join(expected.as_str())
}

/// What changes when somebody writes to the file or puts another in its place.
fn stamp(about: &Metadata) -> String {
    format!(
        "size {} mtime {}.{:09} ctime {}.{:09} inode {}:{}\n",
        about.size(),
        about.mtime(),
        about.mtime_nsec(),
        about.ctime(),
        about.ctime_nsec(),
        about.dev(),
        about.ino()
    )
}
