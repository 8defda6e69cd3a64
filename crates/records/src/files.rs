//! The one way in which the program writes files. They are whole or absent: written aside under a name of their own, then renamed.
//!
//! Files may be the user's (`report --splice`, `--out`): only regular files are replaced, through symbolic links, which stay, and
//! a file that was there keeps its permissions.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::owner::{self, Owner};
use crate::regular;

/// What precedes the owner in the name of a file that is being written. Together with [`ASIDE`] it tells our files from a
/// user's: only such are ever cleaned away.
const MARK: &str = "sweep-";

/// Ending of files that are being written.
const ASIDE: &str = ".tmp";

/// Longest part of a file's name in the name of the file aside; file systems allow 255 bytes for all of it.
const STEM: usize = 100;

/// Symbolic links that are followed one after the other; Linux follows as many.
const LINKS: usize = 40;

/// Age at which a file aside belongs to no living process, where the process cannot be looked at.
const ABANDONED: Duration = Duration::from_hours(24);

/// Whether a write waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives a power cut once the folder is waited for too ([`sync_folder`]): one wait for many files.
    Unordered,
    /// Survives a power cut.
    Synced,
    /// Survives the end of the process; can be made again.
    Plain,
}

/// A name beside `path` that no other process or thread uses: `.<name>.sweep-<owner>.<number>.tmp`.
pub fn aside(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = &name[..name.floor_char_boundary(STEM)];
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{stem}.{MARK}{}.{number}{ASIDE}", Owner::me().tag()))
}

/// The owner in the name of a file that was made by [`aside`]; none for any other name.
fn owner_aside(name: &OsStr) -> Option<&str> {
    let (rest, number) = name.to_str()?.strip_prefix('.')?.strip_suffix(ASIDE)?.rsplit_once('.')?;
    let (_, tag) = rest.rsplit_once('.')?;
    let tag = tag.strip_prefix(MARK)?;
    (number.parse::<u64>().is_ok() && owner::is_tag(tag)).then_some(tag)
}

/// Whether a name is that of a file that some process of this program is writing, or died over.
pub fn is_aside(name: &OsStr) -> bool {
    owner_aside(name).is_some()
}

/// Writes a file: readers see the old one or the new one, whole.
///
/// # Errors
/// As [`write_with`].
pub fn write(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    write_with(path, durability, |_, file| file.write_all(bytes))
}

/// As [`write()`]; `fill` gets the file aside, by name and opened.
///
/// # Errors
/// `path` is, or leads to, something that is not a regular file or is write-protected; a full or failing disk. What was there
/// is there still.
pub fn write_with(
    path: &Path,
    durability: Durability,
    fill: impl FnOnce(&Path, &mut File) -> io::Result<()>,
) -> io::Result<()> {
    let (path, facts) = target(path)?;
    let aside = aside(&path);
    let written = write_one(&aside, facts.as_ref(), durability, fill).and_then(|()| fs::rename(&aside, &path));
    written.inspect_err(|_| {
        let _ = fs::remove_file(&aside);
    })?;
    if durability == Durability::Synced { sync_folder(parent(&path)) } else { Ok(()) }
}

/// Refuses what [`write()`] would refuse, before work is done that ends in a file.
///
/// # Errors
/// `path` is, or leads to, something that is not a regular file or is write-protected, or lies in no folder.
pub fn check(path: &Path) -> io::Result<()> {
    let (path, _) = target(path)?;
    let folder = parent(&path);
    let problem = match fs::metadata(folder) {
        Ok(facts) if facts.is_dir() => return Ok(()),
        Ok(_) => format!("{} is no folder", folder.display()),
        Err(error) => format!("its folder {}: {error}", folder.display()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// Where a write to `path` ends, after its symbolic links, and what is there already.
fn target(path: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
    let refuse = |problem: &str| io::Error::new(io::ErrorKind::InvalidInput, problem.to_owned());
    let mut place = path.to_owned();
    for _ in 0..=LINKS {
        if place.file_name().is_none() {
            return Err(refuse("it names no file"));
        }
        let facts = match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((place, None)),
            facts => facts?,
        };
        if facts.is_symlink() {
            place = parent(&place).join(fs::read_link(&place)?);
            continue;
        }
        regular::check(&facts)?;
        if facts.permissions().readonly() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is write-protected"));
        }
        return Ok((place, Some(facts)));
    }
    Err(refuse("too many symbolic links lead to it"))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_one(
    path: &Path,
    before: Option<&Metadata>,
    durability: Durability,
    fill: impl FnOnce(&Path, &mut File) -> io::Result<()>,
) -> io::Result<()> {
    // What replaces a private file is never open to others, not even for a moment.
    let mode = if before.is_some() { 0o600 } else { 0o666 };
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
    let made = file.metadata()?.permissions();
    fill(path, &mut file)?;
    // A library that writes files by name may have put one of its own, private to this user, in the place.
    let file = File::options().write(true).open(path)?;
    if let Some(before) = before {
        // Somebody else's file stays theirs where this process may see to it; permissions are always kept.
        let _ =
            fchown(&file, Some(before.uid()), Some(before.gid())).or_else(|_| fchown(&file, None, Some(before.gid())));
        file.set_permissions(Permissions::from_mode(before.mode() & 0o777))?;
    } else if file.metadata()?.permissions() != made {
        file.set_permissions(made)?;
    }
    match durability {
        Durability::Plain => Ok(()),
        // Permissions are no data.
        _ if before.is_some() => file.sync_all(),
        _ => file.sync_data(),
    }
}

/// Makes renames in a folder last.
///
/// # Errors
/// The folder cannot be opened, or the disk fails.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network file systems have no such call, and no such danger.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// Removes files that ended processes of this program did not finish writing in `folder`, and nothing else.
///
/// # Errors
/// The folder cannot be read.
pub fn clean(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(tag) = owner_aside(&name) else { continue };
        let Some(facts) = entry.metadata().ok().filter(Metadata::is_file) else { continue };
        let age = facts.modified().ok().and_then(|modified| modified.elapsed().ok());
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
    fn hidden_files_of_others_stay_however_old_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let tag = Owner::me().tag().replace(&std::process::id().to_string(), &u32::MAX.to_string());
        let names = [
            ".draft.tmp".to_owned(),
            ".a.b.1.tmp".to_owned(),
            format!(".a.{tag}.0.tmp"),
            format!(".a.sweep-{tag}.x.tmp"),
            ".a.sweep-notes.1.tmp".to_owned(),
            ".a.sweep-0123456-1-1.1.tmp".to_owned(),
        ];
        for name in &names {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        let own = folder.path().join(format!(".a.sweep-{tag}.7.tmp"));
        fs::write(&own, "half").unwrap();
        clean(folder.path()).unwrap();
        assert!(names.iter().all(|name| folder.path().join(name).exists()));
        assert!(!own.exists());
    }

    #[test]
    fn links_lead_to_their_target_and_permissions_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("deep")).unwrap();
        fs::write(path("deep/file"), "old").unwrap();
        fs::set_permissions(path("deep/file"), Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("deep/file", path("second")).unwrap();
        std::os::unix::fs::symlink(path("second"), path("first")).unwrap();
        fs::write(path("first.tmp"), "a neighbour").unwrap();
        write(&path("first"), b"new", Durability::Synced).unwrap();
        assert_eq!(fs::read_to_string(path("deep/file")).unwrap(), "new");
        assert_eq!(fs::metadata(path("deep/file")).unwrap().mode() & 0o7777, 0o640);
        assert!(path("first").is_symlink() && path("second").is_symlink());
        assert_eq!(fs::read_to_string(path("first.tmp")).unwrap(), "a neighbour");
        assert_eq!(fs::read_dir(path("deep")).unwrap().count(), 1, "nothing is left aside");
        // A link to nothing yet makes its target.
        std::os::unix::fs::symlink("deep/later", path("third")).unwrap();
        write(&path("third"), b"new", Durability::Plain).unwrap();
        assert!(path("third").is_symlink() && path("deep/later").is_file());
        std::os::unix::fs::symlink("round", path("round")).unwrap();
        let error = write(&path("round"), b"new", Durability::Plain).unwrap_err();
        assert_eq!(error.to_string(), "too many symbolic links lead to it");
    }

    #[test]
    fn what_is_no_regular_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        std::os::unix::fs::symlink("pipe", path("link")).unwrap();
        fs::write(path("protected"), "old").unwrap();
        fs::set_permissions(path("protected"), Permissions::from_mode(0o444)).unwrap();
        for (path, said) in [
            (path("pipe"), "it is a pipe, not a regular file"),
            (path("link"), "it is a pipe, not a regular file"),
            (PathBuf::from("/dev/null"), "it is a device, not a regular file"),
            (folder.path().to_owned(), "it is a folder, not a regular file"),
            (path("protected"), "it is write-protected"),
            (path(".."), "it names no file"),
        ] {
            assert_eq!(check(&path).unwrap_err().to_string(), said);
            assert_eq!(write(&path, b"new", Durability::Plain).unwrap_err().to_string(), said);
        }
        assert!(check(&path("absent/file")).unwrap_err().to_string().contains("absent"));
        assert!(check(&path("protected/file")).unwrap_err().to_string().contains("Not a directory"));
        check(&path("new")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn the_longest_name_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ä".repeat(127));
        write(&path, b"new", Durability::Plain).unwrap();
        assert!(path.is_file());
    }

    #[test]
    fn a_failed_write_leaves_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("folder");
        fs::create_dir_all(path.join("full")).unwrap();
        write(&path, b"{}", Durability::Plain).unwrap_err();
        let file = folder.path().join("file");
        fs::write(&file, "old").unwrap();
        write_with(&file, Durability::Plain, |_, _| Err(io::Error::other("no room"))).unwrap_err();
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
