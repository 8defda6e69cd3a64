//! Files that are not used any more are moved out of the way, never removed: damaged ones into `damaged/`, those of other code into
//! `other-code/`, under the names that they had.

use std::path::Path;
use std::{fs, io};

use records::regular;
use tracing::warn;

use super::store::{self, StoreError};

/// Why a file is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// It is not what its name says.
    Damaged,
    /// It was made by other code than this program's.
    OtherCode,
}

impl Aside {
    fn folder(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::OtherCode => "other-code",
        }
    }
}

/// Moves `path`, somewhere below the results folder `dir`, and says why. A file that is gone already is fine.
///
/// # Errors
/// It cannot be moved.
pub(super) fn move_away(dir: &Path, path: &Path, aside: Aside, why: &str) -> Result<(), StoreError> {
    let Some(to) = move_quietly(dir, path, aside)? else { return Ok(()) };
    let (file, moved_to) = (path.display().to_string(), to.display().to_string());
    warn!(file, moved_to, why, "a file cannot be used; what it held is made again");
    Ok(())
}

/// The same without a word; returns where the file is now, or none where it is gone.
///
/// # Errors
/// It cannot be moved.
pub(super) fn move_quietly(dir: &Path, path: &Path, aside: Aside) -> Result<Option<std::path::PathBuf>, StoreError> {
    let name = path.strip_prefix(dir).unwrap_or(path);
    let first = dir.join(aside.folder()).join(name);
    let parent = first.parent().unwrap_or(dir);
    fs::create_dir_all(parent).map_err(|error| store::io("create", parent, error))?;
    let mut to = first.clone();
    let mut number = 1;
    while to.symlink_metadata().is_ok() {
        to = first.with_extension(format!("{number}.json"));
        number += 1;
    }
    match fs::rename(path, &to) {
        Ok(()) => Ok(Some(to)),
        // Another process was quicker.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(store::io("move", path, error)),
    }
}

/// Content of a file; none where there is none.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match regular::read(path, regular::MAX_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(store::io("read", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_moved_and_none_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        fs::create_dir(dir.join("cells")).unwrap();
        let path = dir.join("cells/a.json");
        for content in ["first", "second", "third"] {
            fs::write(&path, content).unwrap();
            move_away(dir, &path, Aside::Damaged, "a test").unwrap();
            assert!(!path.exists());
        }
        for (name, content) in [("a.json", "first"), ("a.1.json", "second"), ("a.2.json", "third")] {
            assert_eq!(fs::read_to_string(dir.join("damaged/cells").join(name)).unwrap(), content);
        }
        move_away(dir, &path, Aside::OtherCode, "it is gone").unwrap();
    }
}
