//! Files that are whole or absent: written aside under a name of their own, then renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::owner::Owner;

/// Ending of files that are being written.
const ASIDE: &str = ".tmp";

/// Age at which a file aside belongs to no living process, where the process cannot be looked at.
const ABANDONED: Duration = Duration::from_hours(24);

/// Whether a write waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Survives a power cut once the folder is waited for too ([`sync_folder`]): one wait for many files.
    Unordered,
    /// Survives a power cut.
    Synced,
    /// Survives the end of the process; can be made again.
    Plain,
}

/// A name beside `path` that no other process or thread uses.
pub(crate) fn aside(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}.{number}{ASIDE}", Owner::me().tag()))
}

/// Writes a file: readers see the old one or the new one, whole.
pub(crate) fn write(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let aside = aside(path);
    let written = write_one(&aside, bytes, durability).and_then(|()| fs::rename(&aside, path));
    written.inspect_err(|_| {
        let _ = fs::remove_file(&aside);
    })?;
    match path.parent() {
        Some(folder) if durability == Durability::Synced => sync_folder(folder),
        _ => Ok(()),
    }
}

fn write_one(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    if durability == Durability::Plain { Ok(()) } else { file.sync_data() }
}

/// Makes renames in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network file systems have no such call, and no such danger.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// Removes what processes that have ended left aside in `folder`.
pub(crate) fn clean(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(ASIDE).filter(|name| name.starts_with('.')) else { continue };
        let tag = name.rsplit('.').nth(1).unwrap_or_default();
        let age = entry.metadata().ok().and_then(|facts| facts.modified().ok()?.elapsed().ok());
        if Owner::me().outlives(tag) || age.is_some_and(|age| age > ABANDONED) {
            // Another process may clean at the same time.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"{}", Durability::Synced).unwrap();
        let mine = aside(&path);
        let me = Owner::me().tag();
        let dead = mine.to_string_lossy().replace(&me, &format!("{}-{}-1", &me[..8], u32::MAX));
        let elsewhere = mine.to_string_lossy().replace(&me[..8], "00000000");
        for path in [mine.to_string_lossy().as_ref(), &dead, &elsewhere] {
            fs::write(path, "half").unwrap();
        }
        clean(folder.path()).unwrap();
        assert!(path.exists() && mine.exists() && Path::new(&elsewhere).exists());
        assert!(!Path::new(&dead).exists());
        clean(&folder.path().join("absent")).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("folder");
        fs::create_dir_all(path.join("full")).unwrap();
        write(&path, b"{}", Durability::Plain).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
